#include "kernels/dispatch.h"

#include <array>
#include <cstdlib>

#include "base/cpu_features.h"
#include "kernels/install.h"

namespace quern::kernels {
namespace {

bool always() noexcept { return true; }

// Whether kernels that are built can run here. A build may have some of them alone (QUERN_ISAS).
[[maybe_unused]] bool has_avx2() noexcept {
  const auto& f = base::cpu_features();
  return f.avx2 && f.fma && f.f16c;
}
[[maybe_unused]] bool has_avxvnni() noexcept {
  return has_avx2() && base::cpu_features().avx_vnni;
}
[[maybe_unused]] bool has_avx512() noexcept {
  const auto& f = base::cpu_features();
  return has_avx2() && f.avx512f && f.avx512bw && f.avx512dq && f.avx512vl;
}
[[maybe_unused]] bool has_avx512vnni() noexcept {
  return has_avx512() && base::cpu_features().avx512vnni;
}
[[maybe_unused]] bool has_avx512amx() noexcept {
  return has_avx512vnni() && base::cpu_features().amx_int8 && base::allow_amx();
}
[[maybe_unused]] bool has_neon() noexcept { return base::cpu_features().neon_dotprod; }

constexpr Isa kIsas[] = {
    {"scalar", always, install_scalar},
#if defined(QUERN_KERNELS_AVX2)
    {"avx2", has_avx2, install_avx2},
#endif
#if defined(QUERN_KERNELS_AVXVNNI)
    {"avxvnni", has_avxvnni, install_avxvnni},
#endif
#if defined(QUERN_KERNELS_AVX512)
    {"avx512", has_avx512, install_avx512},
#endif
#if defined(QUERN_KERNELS_AVX512VNNI)
    {"avx512vnni", has_avx512vnni, install_avx512vnni},
#endif
#if defined(QUERN_KERNELS_AVX512AMX)
    {"avx512amx", has_avx512amx, install_avx512amx},
#endif
#if defined(QUERN_KERNELS_NEON)
    {"neon", has_neon, install_neon},
#endif
};
constexpr std::size_t kCount = sizeof kIsas / sizeof kIsas[0];

/// The tables of all available instruction sets; each begins as a copy of the one below it.
struct Tables {
  std::array<KernelTable, kCount> table{};
  std::array<bool, kCount> available{};
  Tables() {
    KernelTable current;
    for (std::size_t i = 0; i < kCount; ++i) {
      available[i] = kIsas[i].available();
      if (!available[i]) continue;
      kIsas[i].install(current);
      current.isa = kIsas[i].name.data();  // The names are literals, so they end in 0.
      table[i] = current;
    }
  }
};
const Tables& tables() {
  static const Tables all;
  return all;
}

std::string available_names() {
  std::string names;
  for (std::size_t i = 0; i < kCount; ++i) {
    if (!tables().available[i]) continue;
    if (!names.empty()) names += ", ";
    names += kIsas[i].name;
  }
  return names;
}

/// The choice, and the sentences that explain it.
struct Choice {
  const KernelTable* table = nullptr;
  Error error;
  std::vector<std::string> log;
};

Choice choose() {
  Choice choice;
  const char* forced = std::getenv("QUERN_ISA");
  if (forced != nullptr && *forced != '\0') {
    auto found = kernels_for(forced);
    if (found.ok()) {
      choice.table = *found;
      choice.log.push_back(std::string("kernels: ") + forced + " (forced by QUERN_ISA)");
    } else {
      choice.error = std::move(found).error().of("QUERN_ISA");
      choice.log.push_back("kernels: none, because QUERN_ISA asks for what is not available: " +
                           choice.error.found);
    }
    return choice;
  }
  for (std::size_t i = kCount; i-- > 0;) {
    const std::string name(kIsas[i].name);
    if (tables().available[i]) {
      choice.table = &tables().table[i];
      choice.log.push_back("kernels: " + name);
      break;
    }
    choice.log.push_back("kernels: " + name +
                         " rejected: the processor or the operating system lacks it");
  }
  return choice;
}

const Choice& chosen() {
  static const Choice choice = choose();
  return choice;
}

}  // namespace

std::span<const Isa> built_isas() noexcept { return kIsas; }

Result<const KernelTable*> kernels_for(std::string_view isa) {
  for (std::size_t i = 0; i < kCount; ++i) {
    if (kIsas[i].name == isa && tables().available[i]) return &tables().table[i];
  }
  return Error(ErrorCode::kUnsupported, "this instruction set is not available")
      .of("isa")
      .want("one of " + available_names())
      .got(std::string(isa));
}

Result<const KernelTable*> default_kernels() {
  if (chosen().table == nullptr) return chosen().error;
  return chosen().table;
}

std::vector<std::string> dispatch_log() { return chosen().log; }

}  // namespace quern::kernels
