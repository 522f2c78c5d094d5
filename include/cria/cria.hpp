// SPDX-License-Identifier: MIT
// cria.hpp - the header that hosts include: everything from a GGUF file to streamed text.
//
//   #include <cria/cria.hpp>
//
//   auto model = cria::load_model("model.gguf");                          // result<model>: weights and tokenizer; immutable and shared
//   if (!model) return fail(model.error().to_string());
//   auto session = cria::session::create(*model);                         // threads, cache and buffers; used by one thread at a time
//   if (!session) return fail(session.error().to_string());
//   auto done = session->generate("Once upon a time", {.max_tokens = 64}, [](std::string_view text) { show(text); });
//
// Where to look    generate/session.hpp      generate, stream, evaluate, top_logits
//                  generate/batch_engine.hpp many requests at once
//                  generate/options.hpp      the options                   sampling/sampler_config.hpp   how tokens are drawn
//                  generate/session_file.hpp sessions as files             sampling/grammar/grammar.hpp  what a text must look like
//                  chat/chat_session.hpp     chats: replies, history, undo tokenizer/tokenizer.hpp       text to tokens and back
//                  chat/tool_call.hpp        functions for the model       chat/reply_parser.hpp         thinking, text and calls in a reply
//                  chat/required_call.hpp    a reply that is a call        chat/chat_format.hpp          chats through a batch engine
//                  generate/scoring.hpp      how likely given texts are    generate/embedding.hpp        texts as vectors
//                  kv/kv_cache.hpp, sampling/sampler.hpp, core/executor.hpp: what a host may bring itself
// Errors           core/result.hpp; nothing prints, exits or reads the environment
#pragma once

#include <cria/chat/chat_format.hpp>
#include <cria/chat/chat_options.hpp>
#include <cria/chat/chat_session.hpp>
#include <cria/chat/chat_template.hpp>
#include <cria/chat/conversation.hpp>
#include <cria/chat/json.hpp>
#include <cria/chat/json_schema.hpp>
#include <cria/chat/named_templates.hpp>
#include <cria/chat/reply_parser.hpp>
#include <cria/chat/reply_reader.hpp>
#include <cria/chat/reply_syntax.hpp>
#include <cria/chat/required_call.hpp>
#include <cria/chat/tool_call.hpp>
#include <cria/core/byte_source.hpp>
#include <cria/core/config.hpp>
#include <cria/core/cpu_count.hpp>
#include <cria/core/executor.hpp>
#include <cria/core/result.hpp>
#include <cria/core/thread_pool.hpp>
#include <cria/core/types.hpp>
#include <cria/generate/batch_engine.hpp>
#include <cria/generate/beam_search.hpp>
#include <cria/generate/embedding.hpp>
#include <cria/generate/generation.hpp>
#include <cria/generate/grammar_guard.hpp>
#include <cria/generate/load.hpp>
#include <cria/generate/metrics.hpp>
#include <cria/generate/model_slot.hpp>
#include <cria/generate/options.hpp>
#include <cria/generate/scoring.hpp>
#include <cria/generate/session.hpp>
#include <cria/generate/session_file.hpp>
#include <cria/generate/speculative.hpp>
#include <cria/generate/stop.hpp>
#include <cria/generate/text_output.hpp>
#include <cria/generate/token_stream.hpp>
#include <cria/gguf/file.hpp>
#include <cria/gguf/writer.hpp>
#include <cria/isa/isa.hpp>
#include <cria/kernels/registry.hpp>
#include <cria/kv/contiguous.hpp>
#include <cria/kv/kv_cache.hpp>
#include <cria/kv/paged.hpp>
#include <cria/model/adapter.hpp>
#include <cria/model/model.hpp>
#include <cria/sampling/dry.hpp>
#include <cria/sampling/grammar/grammar.hpp>
#include <cria/sampling/grammar/matcher.hpp>
#include <cria/sampling/grammar/token_filter.hpp>
#include <cria/sampling/grammar/token_trie.hpp>
#include <cria/sampling/mirostat.hpp>
#include <cria/sampling/penalties.hpp>
#include <cria/sampling/runtime_sampler.hpp>
#include <cria/sampling/sampler.hpp>
#include <cria/sampling/sampler_config.hpp>
#include <cria/sampling/sampler_fields.hpp>
#include <cria/sampling/temperature.hpp>
#include <cria/sampling/truncation.hpp>
#include <cria/tokenizer/tokenizer.hpp>
#include <cria/tokenizer/utf8_assembler.hpp>
