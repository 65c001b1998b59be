/// \file
/// The whole public API of quern for C++.
#pragma once

#include "quern/adapter.h"       // IWYU pragma: export
#include "quern/beam_search.h"   // IWYU pragma: export
#include "quern/config.h"        // IWYU pragma: export
#include "quern/conversation.h"  // IWYU pragma: export
#include "quern/encoder.h"       // IWYU pragma: export
#include "quern/encoding.h"      // IWYU pragma: export
#include "quern/evaluation.h"    // IWYU pragma: export
#include "quern/executor.h"      // IWYU pragma: export
#include "quern/fill_in.h"       // IWYU pragma: export
#include "quern/kv_type.h"       // IWYU pragma: export
#include "quern/log.h"           // IWYU pragma: export
#include "quern/model.h"         // IWYU pragma: export
#include "quern/result.h"        // IWYU pragma: export
#include "quern/sampling.h"      // IWYU pragma: export
#include "quern/session.h"       // IWYU pragma: export
#include "quern/trace.h"         // IWYU pragma: export
#include "quern/version.h"       // IWYU pragma: export
