/// \file
/// Attention over one KV head (order of arithmetic: kernel_table.h, AttentionArgs), by the number
/// of queries: few (a decode step) or a tile (prefill). Both give the same bits.
#pragma once

#include "kernels/generic/attention_few_coded.h"
#include "kernels/generic/attention_few_plain.h"
#include "kernels/generic/attention_tile_coded.h"
#include "kernels/generic/attention_tile_plain.h"

namespace quern::kernels {
namespace {

template <class Isa, KvType type>
void attend(const AttentionArgs& args) {
  if constexpr (kCoded<type>) {
    if (args.n_queries <= kFewQueries) {
      attend_few_all<Isa, CodedBlockOfFew, type>(args);
    } else {
      AttentionTile<Isa, CodedProducts<Isa>>::run(args, type);
    }
  } else {
    if (args.n_queries <= kFewQueries) {
      attend_few_all<Isa, PlainBlockOfFew, type>(args);
    } else {
      AttentionTile<Isa, PlainProducts<Isa>>::run(args, type);
    }
  }
}

/// Merging and finishing the states that attend() makes.
template <class Isa>
struct AttentionState {
  static void merge(std::int64_t queries, std::int64_t vd, float* total, const float* span) {
    if (queries <= kFewQueries) {
      FewQueries<Isa>::merge_spans(queries, vd, total, span);
    } else {
      TileState<Isa>::merge_spans(queries, vd, total, span);
    }
  }
  static void finish(std::int64_t queries, std::int64_t vd, const float* state, float* const* out) {
    if (queries <= kFewQueries) {
      FewQueries<Isa>::finish(queries, vd, state, out);
    } else {
      TileState<Isa>::finish(queries, vd, state, out);
    }
  }
};

template <class Isa, KvType type>
void install_kv(KernelTable& table) {
  set_attention(table, type, attend<Isa, type>);
  set_kv_store(table, type, KvStore<Isa, type>::run);
}

template <class Isa>
void install_attention(KernelTable& table) {
  install_kv<Isa, KvType::kF32>(table);
  install_kv<Isa, KvType::kF16>(table);
  install_kv<Isa, KvType::kBF16>(table);
  install_kv<Isa, KvType::kQ8>(table);
  install_kv<Isa, KvType::kQ4>(table);
  table.attention_merge = AttentionState<Isa>::merge;
  table.attention_finish = AttentionState<Isa>::finish;
}

}  // namespace
}  // namespace quern::kernels
