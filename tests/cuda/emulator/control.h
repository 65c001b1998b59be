/// \file
/// What a test may ask of the emulated machine. The library shows these functions beside the
/// driver's; a test finds them with dlsym. Every number can also be set by the environment, as
/// QUERN_EMULATOR_<NAME> in capitals, before the library is loaded.
#pragma once

extern "C" {

/// Sets one of
///     driver_version       what cuDriverGetVersion says (12040)
///     start_result         the number of the error that cuInit answers; 0: it starts (0)
///     n_devices            0 … 2 (1)
///     compute_capability   of every device (90)
///     memory_bytes         of every device (8 GiB)
///     shared_bytes         of a block, at most (101376)
///     lose_after_launches  the launch after so many ends with an uncorrectable memory error; then
///                          the counter is off; -1 is off (-1)
///     is_reversed          1: blocks and threads run from the last to the first (0)
///     reports              1: at the end of the process what was counted goes to stderr (0)
///     watches              1: a race between threads ends the launch (0)
/// \return 0, or 1 for an unknown name.
int quern_emulator_set(const char* name, long long value);

/// One of the above, or what was counted: since the start `launches` of kernels, `recordings`
/// started, `synchronizations` of streams, `bytes_to_host` and `peak_bytes` allocated at a time;
/// `leaks`, what was still there when a context ended that had not been lost; `allocated_bytes`,
/// `allocations` (device and pinned), `streams`, `graphs`, `modules` and `contexts` that live now;
/// -1 for an unknown name.
long long quern_emulator_get(const char* name);

/// Back to the defaults and the environment. What is allocated stays.
void quern_emulator_reset(void);

}  // extern "C"
