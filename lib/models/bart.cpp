// BART (Lewis et al. 2020), mBART (Liu et al. 2020, "Multilingual Denoising Pre-training"), Marian
// (Junczys-Dowmunt et al. 2018) and Pegasus (Zhang et al. 2020): one encoder–decoder, which differs
// in where its norms stand and where its positions come from.
#include "models/bart_config.h"
#include "models/bart_tensors.h"

namespace quern::models {

extern const Architecture kBart;
const Architecture kBart = {
    "bart",
    {"BartForConditionalGeneration", "PLBartForConditionalGeneration",
     "MBartForConditionalGeneration", "MarianMTModel", "PegasusForConditionalGeneration"},
    {},
    read_bart_config,
    nullptr,
    bart_tensors,
    build_target_of<read_bart_layout>,
    {},
    build_source_of<read_bart_layout>};

}  // namespace quern::models
