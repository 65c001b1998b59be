/// \file
/// Installs the matrix products of every group encoding for an ISA.
#pragma once

#include "kernels/generic/linear_group.h"

namespace quern::kernels {
namespace {

template <class Isa>
void install_group_linear(KernelTable& table) {
  GroupLinear<Isa, Encoding::kQ4_0>::install(table);
  GroupLinear<Isa, Encoding::kQ4_1>::install(table);
  GroupLinear<Isa, Encoding::kQ5_0>::install(table);
  GroupLinear<Isa, Encoding::kQ5_1>::install(table);
  GroupLinear<Isa, Encoding::kQ8_0>::install(table);
  GroupLinear<Isa, Encoding::kQ2_K>::install(table);
  GroupLinear<Isa, Encoding::kQ3_K>::install(table);
  GroupLinear<Isa, Encoding::kQ4_K>::install(table);
  GroupLinear<Isa, Encoding::kQ5_K>::install(table);
  GroupLinear<Isa, Encoding::kQ6_K>::install(table);
  GroupLinear<Isa, Encoding::kIQ4_NL>::install(table);
  GroupLinear<Isa, Encoding::kIQ4_XS>::install(table);
  GroupLinear<Isa, Encoding::kMXFP4>::install(table);
}

}  // namespace
}  // namespace quern::kernels
