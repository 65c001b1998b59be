/**
 * \file
 * The public API of quern for C, with a stable ABI.
 *
 * Rules. Every function that can fail returns a code, QUERN_OK or one of the others; details of the
 * calling thread's last failure come from quern_last_error. Handles are opaque; the free functions
 * take NULL. Strings go in as pointer and length (they need no terminator) and come out as
 * quern_view (borrowed) or quern_string (owned; release with quern_string_free). Option structs
 * begin with their size: initialise them with the _init function, so that a program that was built
 * against an older header goes on working. The library never aborts, exits or prints, and no
 * exception leaves it.
 *
 * Threads: a model may be used by any number of threads; a session, encoder or conversation by one
 * at a time; a quern_cancel by any, and quern_cancel_set also from a signal handler.
 */
#ifndef QUERN_QUERN_H
#define QUERN_QUERN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What went wrong; the values never change (ErrorCode of quern/result.h). */
typedef int32_t quern_code;
enum {
  QUERN_OK = 0,
  QUERN_IO = 1,
  QUERN_TRUNCATED = 2,
  QUERN_MALFORMED = 3,
  QUERN_UNSUPPORTED = 4,
  QUERN_OUT_OF_RANGE = 5,
  QUERN_CHECKSUM = 6,
  QUERN_MISSING = 7,
  QUERN_MISMATCH = 8,
  QUERN_LIMIT = 9,
  QUERN_INVALID_ARGUMENT = 10,
  QUERN_OUT_OF_MEMORY = 11,
  QUERN_CANCELLED = 12,
  QUERN_TEMPLATE_RAISED = 13,
  QUERN_INTERNAL = 14
};

typedef int32_t quern_token;

typedef struct quern_model quern_model;
typedef struct quern_adapter quern_adapter;
typedef struct quern_session quern_session;
typedef struct quern_encoder quern_encoder;
typedef struct quern_conversation quern_conversation;
typedef struct quern_cancel quern_cancel;

/** Borrowed text, not terminated; who owns it is said where it is returned. */
typedef struct quern_view {
  const char* data;
  size_t length;
} quern_view;

/** Owned text with a terminating zero behind `length` bytes. */
typedef struct quern_string {
  char* data;
  size_t length;
} quern_string;

/** Owned tokens. */
typedef struct quern_tokens {
  quern_token* data;
  size_t length;
} quern_tokens;

/** The last failure of the calling thread. Views stay valid until its next call that fails. */
typedef struct quern_error {
  size_t size; /**< sizeof(quern_error), set by the caller. */
  quern_code code;
  int32_t has_offset;                      /**< Whether `offset` says something. */
  uint64_t offset;                         /**< Byte offset in `file`. */
  quern_view message;                      /**< What is wrong, one sentence. */
  quern_view file, field, expected, found; /**< Empty where they do not apply. */
  quern_view sentence;                     /**< Everything above for a person. */
} quern_error;

/** Fills `error`; code QUERN_OK where nothing has failed yet. */
void quern_last_error(quern_error* error);
/** The lower-case word of a code, e.g. "truncated". Static. */
const char* quern_code_name(quern_code code);
/** "major.minor.patch" of the library. Static. */
const char* quern_version(void);

void quern_string_free(quern_string* text);
void quern_tokens_free(quern_tokens* tokens);

/* ---- Models ---- */

/** Where a model runs. The results have the same bits everywhere. */
typedef enum quern_device {
  QUERN_DEVICE_CPU = 0,
  QUERN_DEVICE_CUDA = 1, /**< An error where the build, the machine or the model does not allow it. */
  QUERN_DEVICE_AUTO = 2  /**< CUDA where it can run the model, else the processor. */
} quern_device;

typedef struct quern_model_options {
  size_t size;
  int32_t threads;         /**< 0: the cores that affinity and quota leave. */
  int32_t vocabulary_only; /**< Tokenizer and template alone. */
  int32_t fast;            /**< Relaxes the numerics law. */
  int32_t device;          /**< A quern_device. */
  int32_t gpu_layers;      /**< Last layers that the device has, the rest being the processor's; -1: all. */
} quern_model_options;
void quern_model_options_init(quern_model_options* options);

/** Maps a .quern file. `options` may be NULL. */
quern_code quern_model_open(const char* path, size_t path_length,
                            const quern_model_options* options, quern_model** model);
/** Sessions keep what they need of a model; it may be freed before them. */
void quern_model_free(quern_model* model);

typedef struct quern_model_info {
  size_t size; /**< sizeof(quern_model_info), set by the caller. */
  int64_t vocab_size;
  int64_t max_seq_len;
  uint64_t file_bytes;
  uint64_t weights_hash;
  quern_token bos, eos; /**< -1: none. */
  int32_t threads;
  int32_t has_tokenizer;
  int32_t can_run;
  quern_view isa, path, config_json, chat_template; /**< Owned by the model. */
} quern_model_info;
quern_code quern_model_get_info(const quern_model* model, quern_model_info* info);

/** Checks checksums and self-test. \param problems one sentence a line; empty: all is well. */
quern_code quern_model_verify(const quern_model* model, quern_string* problems);

/* ---- Adapters: small files that change what a model does; quern/adapter.h ---- */

/** Maps an adapter in the form of a .quern file (`quern convert ADAPTER --base MODEL -o FILE`). */
quern_code quern_adapter_open(const char* path, size_t path_length, quern_adapter** adapter);
/** Models keep what they need of an adapter; it may be freed before them. */
void quern_adapter_free(quern_adapter* adapter);

typedef struct quern_adapter_info {
  size_t size;      /**< sizeof(quern_adapter_info), set by the caller. */
  uint64_t pairs;   /**< Matrices that it adds to. */
  uint64_t vectors; /**< Vectors that it replaces. */
  uint64_t scales;  /**< Matrices of which it scales product, output or input. */
  quern_view path;  /**< Owned by the adapter. */
} quern_adapter_info;
quern_code quern_adapter_get_info(const quern_adapter* adapter, quern_adapter_info* info);

/** A model of its own over the weights of `model`, with `count` adapters in the order given. Both
 * models can be used and freed independently. \param weights one for each adapter; NULL: all 1. */
quern_code quern_model_with_adapters(const quern_model* model, const quern_adapter* const* adapters,
                                     const float* weights, size_t count, quern_model** adapted);

/* ---- Text ---- */

quern_code quern_encode(const quern_model* model, const char* text, size_t length,
                        int32_t add_special, int32_t parse_special, quern_tokens* tokens);
quern_code quern_decode(const quern_model* model, const quern_token* tokens, size_t count,
                        int32_t skip_special, quern_string* text);
/** Renders the chat template; `conversation` is JSON as quern_conversation_json makes it. */
quern_code quern_render(const quern_model* model, const char* conversation, size_t length,
                        quern_string* prompt);
/** Renders and encodes; text of the messages never becomes a control token. */
quern_code quern_encode_chat(const quern_model* model, const char* conversation, size_t length,
                             quern_tokens* tokens);
int32_t quern_is_end_token(const quern_model* model, quern_token token);

/** A list of messages. */
quern_code quern_conversation_create(quern_conversation** conversation);
void quern_conversation_free(quern_conversation* conversation);
quern_code quern_conversation_add(quern_conversation* conversation, const char* role,
                                  size_t role_length, const char* content, size_t content_length);
quern_code quern_conversation_json(const quern_conversation* conversation,
                                   int32_t add_generation_prompt, quern_string* json);

/* ---- Sessions ---- */

/** Values of quern_session_options.kv. */
enum {
  QUERN_KV_AUTO = 0,
  QUERN_KV_F32 = 1,
  QUERN_KV_F16 = 2,
  QUERN_KV_BF16 = 3,
  QUERN_KV_Q8 = 4,
  QUERN_KV_Q4 = 5
};

typedef struct quern_session_options {
  size_t size;
  int64_t context;    /**< Positions kept; 0: the model's longest, at most 8,192. */
  int64_t batch_rows; /**< Largest number of rows of one step. */
  int32_t kv;
} quern_session_options;
void quern_session_options_init(quern_session_options* options);

typedef struct quern_memory_plan {
  size_t size; /**< sizeof(quern_memory_plan), set by the caller. */
  uint64_t weights_bytes, kv_bytes, scratch_bytes;
  uint64_t device_bytes; /**< Of a GPU's memory; 0: the processor does all. */
} quern_memory_plan;
/** What sessions would take, exact. `options` may be NULL. */
quern_code quern_model_plan(const quern_model* model, const quern_session_options* options,
                            int32_t sequences, quern_memory_plan* plan);

/** What an encoder–decoder's reply begins with: `count` tokens, as long as the model lives; NULL
 * and 0 for any other. */
const quern_token* quern_model_decoder_start(const quern_model* model, size_t* count);

quern_code quern_session_create(const quern_model* model, const quern_session_options* options,
                                quern_session** session);
void quern_session_free(quern_session* session);
int64_t quern_session_position(const quern_session* session);
int64_t quern_session_context(const quern_session* session);
quern_code quern_session_rewind(quern_session* session, int64_t position);
/** Of an encoder–decoder: evaluates the source that the decoder answers, and forgets what the
 * decoder had. quern_model_decoder_start is then the prompt of a reply. \param states gets `count`
 * floats, the encoder's last hidden states, owned by the session and valid until its next call; may
 * be NULL. QUERN_UNSUPPORTED for any other model. */
quern_code quern_session_read_source(quern_session* session, const quern_token* tokens,
                                     size_t length, const float** states, size_t* count);
/** Appends tokens. \param logits gets `count` = vocab_size floats of the last one, owned by the
 *  session and valid until its next call. */
quern_code quern_session_step(quern_session* session, const quern_token* tokens, size_t length,
                              const float** logits, size_t* count);

/* ---- Encoders ---- */

/** For a model that is an encoder; QUERN_UNSUPPORTED for any other. One thread at a time; the model
 *  may be freed before it. */
quern_code quern_encoder_create(const quern_model* model, quern_encoder** encoder);
void quern_encoder_free(quern_encoder* encoder);
/** A text's embedding, pooled as the checkpoint says (else the mean, of length one); longer texts
 *  are cut. \param embedding gets `count` floats, owned by the encoder and valid until its next
 *  call. */
quern_code quern_encoder_embed(quern_encoder* encoder, const char* text, size_t length,
                               const float** embedding, size_t* count);
/** The logits of a cross-encoder's or classifier's head for a pair of texts; likewise owned. */
quern_code quern_encoder_score(quern_encoder* encoder, const char* a, size_t a_length,
                               const char* b, size_t b_length, const float** logits, size_t* count);

typedef struct quern_logit_bias {
  quern_token token;
  float bias;
} quern_logit_bias;

typedef struct quern_sampling_options {
  size_t size;
  float temperature; /**< 0: greedy. */
  int32_t top_k;     /**< 0: off. */
  float top_p;       /**< 1: off. */
  float min_p;       /**< 0: off. */
  float repeat_penalty;
  int32_t repeat_window;
  float presence_penalty, frequency_penalty;
  uint64_t seed;
  const quern_logit_bias* logit_bias;
  size_t logit_bias_count;
} quern_sampling_options;
/** Defaults of the library, or of `model` where it is not NULL: `logit_bias` is then the model's own
 * list (tokens that its checkpoint bans), which lives as long as `model`. */
void quern_sampling_options_init(quern_sampling_options* options, const quern_model* model);

/** A flag that ends a reply from another thread. */
quern_code quern_cancel_create(quern_cancel** cancel);
void quern_cancel_free(quern_cancel* cancel);
void quern_cancel_set(quern_cancel* cancel);
void quern_cancel_reset(quern_cancel* cancel);

/** Gets complete UTF-8 as it comes; returning 0 ends the reply. */
typedef int32_t (*quern_text_callback)(void* user, const char* text, size_t length);

typedef struct quern_generate_options {
  size_t size;
  const quern_sampling_options* sampling; /**< NULL: the model's defaults. */
  int64_t max_tokens;                     /**< -1: until the context is full. */
  const quern_view* stop;                 /**< Texts that end the reply, besides the model's. */
  size_t stop_count;
  int32_t ignore_end_tokens;
  const quern_cancel* cancel;  /**< May be NULL. */
  quern_text_callback on_text; /**< May be NULL. */
  void* user;
} quern_generate_options;
void quern_generate_options_init(quern_generate_options* options);

/** Values of quern_generated.reason. */
enum {
  QUERN_FINISH_STOP = 0,
  QUERN_FINISH_LENGTH = 1,
  QUERN_FINISH_CANCELLED = 2,
  QUERN_FINISH_CONTEXT_FULL = 3
};

/** Release with quern_generated_free. */
typedef struct quern_generated {
  size_t size; /**< sizeof(quern_generated), set by the caller. */
  quern_string text;
  quern_tokens tokens;
  int32_t reason;
  int64_t prompt_tokens, cached_tokens, generated_tokens;
  double prefill_ms, decode_ms;
} quern_generated;
void quern_generated_free(quern_generated* generated);

/** Brings the session to `prompt` (reusing the common prefix) and samples until an end. `options`
 * may be NULL; so may `generated`. */
quern_code quern_generate(quern_session* session, const quern_token* prompt, size_t length,
                          const quern_generate_options* options, quern_generated* generated);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* QUERN_QUERN_H */
