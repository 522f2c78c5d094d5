// SPDX-License-Identifier: MIT
// cria serve: a model behind HTTP, as clients of OpenAI's API (v1) ask for it. Many requests share each pass through the model.
//
//   POST /v1/chat/completions, /v1/completions   whole, or as server-sent events ("stream": true)
//   POST /v1/embeddings
//   GET  /v1/models, /v1/models/NAME, /health, /metrics (Prometheus)
//
// A request ends when its client goes away, also while its prompt is read. When the queue is full a client hears 503 and when to come again. Nobody but
// this machine is served unless --host says so; --api-key-file asks for a key.
//
// The end   A signal ends what is computed, everyone who waits is told so, and the process ends within seconds, whatever clients do: after last_words twice.
#include "command.hpp"
#include "sampling_flags.hpp"
#include "serve_connections.hpp"
#include "serve_engine.hpp"
#include "serve_reply.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <thread>

namespace cria_program {

namespace {

using json = nlohmann::ordered_json;

constexpr std::chrono::milliseconds look_around{500};   // how often those who wait look whether they still should
constexpr std::chrono::seconds last_words{3};           // how long clients that do not read can delay the end
constexpr std::chrono::seconds quiet{2};                // how long nothing is written of a whole answer: until then it can still become an error
constexpr std::chrono::seconds keep_alive{2};           // how long a connection may be idle

struct serve_flags {
  std::string model, chat_template, name, host = "127.0.0.1", api_key_file, allow_origin;
  int port = 8080;
  engine_flags engine;
  lora_flags lora;
  sampling_flags sampling;
  std::size_t parallel = 8, max_waiting = 32, cache_positions = 0, n_tokens = 0;
  cria::generation_options usual;
};

/// An answer on its way to its client.
class delivery {
 public:
  delivery(completion_writer writer, std::shared_ptr<answer> from, bool streams, std::shared_ptr<const void> presence)
      : writer_(std::move(writer)), from_(std::move(from)), streams_(streams), presence_(std::move(presence)) {}

  /// Writes what comes next; false ends the connection.
  bool go_on(httplib::DataSink& sink) {
    const auto next = from_->wait(look_around);
    if (next && next->what == answer_event::kind::end && !*next->outcome) {
      const json why = error_body(next->outcome->error());
      static_cast<void>(streams_ ? write_event(sink, why) : write(sink, text_of(why)));
      return false;   // what was sent is no whole answer
    }
    if (next) {
      for (const json& chunk : writer_.take(*next)) {
        if (streams_ && !write_event(sink, chunk)) return false;
      }
      if (writer_.is_done()) return finish(sink);
    }
    // Only writing shows whether the client is still there: a comment of the stream, or space before the JSON.
    return std::chrono::steady_clock::now() - last_written_ < look_around || write(sink, streams_ ? ":\n\n" : " ");
  }

 private:
  bool finish(httplib::DataSink& sink) {
    const json usage = writer_.usage_chunk();
    const bool is_written = streams_ ? (usage.is_null() || write_event(sink, usage)) && write(sink, "data: [DONE]\n\n") : write(sink, text_of(writer_.whole()));
    sink.done();
    return is_written;
  }
  bool write_event(httplib::DataSink& sink, const json& event) { return write(sink, "data: " + text_of(event) + "\n\n"); }
  bool write(httplib::DataSink& sink, const std::string& text) {
    last_written_ = std::chrono::steady_clock::now();
    return sink.write(text.data(), text.size());
  }

  completion_writer writer_;
  std::shared_ptr<answer> from_;
  bool streams_;
  std::shared_ptr<const void> presence_;   // of the request, until its answer has been written
  std::chrono::steady_clock::time_point last_written_ = std::chrono::steady_clock::now();
};

/// The routes, and what they need.
class http_service {
 public:
  http_service(std::string name, std::string api_key, std::string allow_origin, serve_engine& engine, request_translator& translator)
      : name_(std::move(name)), key_(std::move(api_key)), origin_(std::move(allow_origin)), engine_(engine), translator_(translator) {}

  void add_to(httplib::Server& server) {
    server.set_pre_routing_handler([this](const auto& asked, auto& reply) { return admit(asked, reply); });
    server.set_error_handler([](const auto&, httplib::Response& reply) {
      if (!reply.has_header("Content-Type")) send(reply, reply.status, named_error(reply.status));
    });
    server.set_exception_handler([](const auto&, httplib::Response& reply, const std::exception_ptr&) {
      send_last(reply, 500, error_body({errc::out_of_memory, "server"}));   // some of the body may not have been read
    });
    server.Get("/health", [](const auto&, auto& reply) { send(reply, 200, {{"status", "ok"}}); });
    server.Get("/v1/models", [this](const auto&, auto& reply) { send(reply, 200, models_body(name_, started_)); });
    server.Get("/metrics", [this](const auto&, auto& reply) {
      reply.set_content(cria::prometheus_text(engine_.statistics(), {.labels = {{"model", name_}}}), "text/plain; version=0.0.4");
    });
    for (const auto& [path, take] : posts) {
      server.Post(path, [this, take = take](const auto& asked, auto& reply, const auto& reader) { receive_and(take, asked, reply, reader); });
    }
  }

  /// Waits until every answer that was begun has been written to its end, for `at_most` so long.
  void wait_for_deliveries(std::chrono::milliseconds at_most) const {
    const auto end = std::chrono::steady_clock::now() + at_most;
    while (presence_.use_count() > 1 && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

 private:
  static void send(httplib::Response& reply, int status, const json& body) {
    reply.status = status;
    if (status == 503) reply.set_header("Retry-After", "1");
    reply.set_content(text_of(body), "application/json");
  }
  static void send(httplib::Response& reply, const error& e) { send(reply, status_of(e), error_body(e)); }

  static json named_error(int status) {
    const char* what = status == 401   ? "the API key is missing or wrong"
                       : status == 404 ? "there is nothing here"
                       : status == 408 ? "the request comes too slowly"
                       : status == 413 ? "the request is too large"
                                       : "the request cannot be understood";
    const char* code = status == 401 ? "invalid_api_key" : status == 404 ? "not_found" : "bad_request";
    return {{"error", {{"message", what}, {"type", "invalid_request_error"}, {"param", nullptr}, {"code", code}}}};
  }
  static void send_last(httplib::Response& reply, int status, const json& body) {
    reply.status = status;
    finish_with(reply, text_of(body), "application/json");
  }

  /// Lets in who has the key, and answers browsers that ask before they ask. Bodies are read by receive_and() only: httplib takes chunked ones of any size,
  /// and a body that nobody reads would be taken for the next request, so that connection ends.
  httplib::Server::HandlerResponse admit(const httplib::Request& asked, httplib::Response& reply) const {
    using enum httplib::Server::HandlerResponse;
    const bool asks_before = asked.method == "OPTIONS", only_reads = asked.method == "GET" || asked.method == "HEAD" || asks_before;
    if (!origin_.empty()) {
      reply.set_header("Access-Control-Allow-Origin", origin_);
      reply.set_header("Access-Control-Allow-Methods", "GET, POST, OPTIONS");
      const std::string headers = asked.get_header_value("Access-Control-Request-Headers");   // clients have headers of their own
      reply.set_header("Access-Control-Allow-Headers", headers.empty() ? "Authorization, Content-Type" : headers);
    }
    if (asked.method == "POST" && std::any_of(posts.begin(), posts.end(), [&](const post& p) { return p.path == asked.path; })) return Unhandled;
    const int status = !asks_before && !has_key(asked) ? 401 : !only_reads ? 404 : has_body(asked) ? 400 : asks_before ? 204 : 200;
    if (status == 200 && asked.path.starts_with(one_model)) {   // no route: its expression would use the stack for each letter
      const bool is_it = asked.path.substr(std::string_view(one_model).size()) == name_;
      send(reply, is_it ? 200 : 404, is_it ? model_body(name_, started_) : named_error(404));
      return Handled;
    }
    if (status == 200) return Unhandled;
    if (has_body(asked) || !only_reads) send_last(reply, status, named_error(status));
    else if (status == 204) reply.status = status;
    else send(reply, status, named_error(status));
    return Handled;
  }
  bool has_key(const httplib::Request& asked) const {
    return key_.empty() || asked.path == "/health" || is_same(asked.get_header_value("Authorization"), "Bearer " + key_);
  }

  static constexpr const char* one_model = "/v1/models/";

  using body_taker = void (http_service::*)(std::string_view body, httplib::Response& reply);
  struct post {
    const char* path;
    body_taker take;
  };
  static const std::array<post, 3> posts;

  void receive_and(body_taker take, const httplib::Request& asked, httplib::Response& reply, const httplib::ContentReader& reader) {
    const bool may_ask = has_key(asked);
    const received_body body = receive(asked, reader, may_ask);
    const int status = may_ask ? body.status : 401;
    if (!body.is_over) return send_last(reply, status, named_error(status));
    if (status != 200) return send(reply, status, named_error(status));
    reply.status = status;
    (this->*take)(body.text, reply);
  }

  /// Compares without telling by the time it takes how much is right.
  static bool is_same(std::string_view given, std::string_view wanted) noexcept {
    unsigned differ = given.size() != wanted.size();
    for (std::size_t i = 0; i < given.size(); ++i) differ |= static_cast<unsigned>(given[i] ^ wanted[i % wanted.size()]);
    return differ == 0;
  }

  void take_chat(std::string_view body, httplib::Response& reply) { complete(translator_.chat(body), reply); }
  void take_completion(std::string_view body, httplib::Response& reply) { complete(translator_.completion(body), reply); }

  void complete(result<completion_request> asked, httplib::Response& reply) {
    if (!asked) return send(reply, asked.error());
    const std::shared_ptr<const void> presence = presence_;
    completion_writer writer(name_, *asked);
    const bool streams = asked->streams;
    const auto on_its_way = engine_.submit(*std::move(asked));
    // Whether there is a place for it is known after the step that runs now.
    const auto first = on_its_way->wait(std::chrono::hours(24));
    if (!first) return send(reply, {errc::cancelled, "server", "is busy"});
    if (first->what == answer_event::kind::end) return send(reply, first->outcome->error());
    for (const auto until = std::chrono::steady_clock::now() + quiet; !streams && !writer.is_done();) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
      const auto next = left.count() > 0 ? on_its_way->wait(left) : std::nullopt;
      if (!next) break;
      if (next->what == answer_event::kind::end && !*next->outcome) {
        on_its_way->abandon();
        return send(reply, next->outcome->error());
      }
      static_cast<void>(writer.take(*next));
    }
    if (!streams && writer.is_done()) return send(reply, 200, writer.whole());
    const auto going = std::make_shared<delivery>(std::move(writer), on_its_way, streams, presence);
    reply.set_chunked_content_provider(streams ? "text/event-stream" : "application/json",
                                       [going](std::size_t, httplib::DataSink& sink) { return going->go_on(sink); },
                                       [on_its_way](bool) { on_its_way->abandon(); });
    if (streams) reply.set_header("Cache-Control", "no-cache");
  }

  void embed(std::string_view body, httplib::Response& reply) {
    auto wanted = translator_.embedding(body);
    if (!wanted) return send(reply, wanted.error());
    const std::shared_ptr<const void> presence = presence_;
    std::size_t n_tokens = 0;
    for (const auto& tokens : wanted->inputs) n_tokens += tokens.size();
    const bool is_base64 = wanted->is_base64;
    const auto on_its_way = engine_.embed(*std::move(wanted));
    if (const auto vectors = on_its_way->wait(quiet)) {
      return *vectors ? send(reply, 200, embedding_body(name_, **vectors, n_tokens, is_base64)) : send(reply, vectors->error());
    }
    const auto go_on = [this, presence, on_its_way, n_tokens, is_base64](std::size_t, httplib::DataSink& sink) {
      const auto vectors = on_its_way->wait(look_around);
      if (!vectors) return sink.write(" ", 1);   // only writing shows whether the client is still there
      const std::string text = text_of(*vectors ? embedding_body(name_, **vectors, n_tokens, is_base64) : error_body(vectors->error()));
      if (!sink.write(text.data(), text.size()) || !*vectors) return false;
      sink.done();
      return true;
    };
    reply.set_chunked_content_provider("application/json", go_on, [on_its_way](bool) { on_its_way->abandon(); });
  }

  std::string name_, key_, origin_;
  std::int64_t started_ = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  serve_engine& engine_;
  request_translator& translator_;
  std::shared_ptr<const void> presence_ = std::make_shared<char>();   // shared by all answers that are under way
};

const std::array<http_service::post, 3> http_service::posts = {{{"/v1/chat/completions", &http_service::take_chat},
                                                                {"/v1/completions", &http_service::take_completion},
                                                                {"/v1/embeddings", &http_service::embed}}};

/// Reads the key: the file's first line.
result<std::string> read_key(const std::string& path) {
  if (path.empty()) return std::string();
  CRIA_TRY(std::string key, read_all(path));
  key.resize(std::min(key.find_first_of("\r\n"), key.size()));
  if (key.empty()) return error{errc::bad_value, path, "begins with an empty line, where the key should be"};
  return key;
}

/// Returns the port that was opened.
result<int> open_port(httplib::Server& server, const std::string& host, int port) {
  server.set_socket_options([](socket_t socket) {   // not httplib's own: those let two servers have one port
    const int yes = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, reinterpret_cast<const char*>(&yes), sizeof yes);
  });
  const int opened = port == 0 ? server.bind_to_any_port(host) : server.bind_to_port(host, port) ? port : -1;
  if (opened < 0) return error{errc::io, host + ":" + std::to_string(port), "cannot be listened to; is something else there?"};
  return opened;
}

result<std::optional<cria::chat_format>> format_of(const serve_flags& flags, const cria::model& model) {
  auto chosen = choose_template(flags.chat_template, model.metadata(), model.tokenizer());
  if (!chosen && flags.chat_template.empty()) {
    print_error(name(chosen.error().code), "chat template", "none that can be used in the model's file: /v1/chat/completions has to be refused");
    return std::optional<cria::chat_format>{};
  }
  if (!chosen) return chosen.error();
  CRIA_TRY(auto format, cria::chat_format::create(model, *std::move(chosen)));
  return std::optional<cria::chat_format>(std::move(format));
}

/// Ends the server once it is told to, or has ended by itself.
void close_when_told(const cria::stop_token& stop, httplib::Server& server, serve_engine& engine, const http_service& service,
                     const std::atomic<bool>& has_ended) {
  while (!stop.stop_requested() && !has_ended) std::this_thread::sleep_for(look_around);
  engine.shut_down();   // connections that wait for it hear so, and end
  service.wait_for_deliveries(last_words);   // server.stop() cuts what is being written
  const auto pause = [] { std::this_thread::sleep_for(std::chrono::milliseconds(2)); };
  while (!server.is_running() && !has_ended) pause();   // stop() does nothing to a server that does not run yet
  server.stop();
  for (const auto end = std::chrono::steady_clock::now() + last_words; !has_ended && std::chrono::steady_clock::now() < end;) pause();
  // Who is left says nothing, or one byte a second, and is owed nothing. httplib would wait for them.
  if (!has_ended) std::_Exit(EXIT_SUCCESS);
}

result<void> run(serve_flags& flags) {
  interrupt ctrl_c;
  ctrl_c.also_on_termination();
  CRIA_TRY(const std::string key, read_key(flags.api_key_file));
  httplib::Server server;
  CRIA_TRY(const int port, open_port(server, flags.host, flags.port));
  CRIA_TRY(const cria::model model, flags.engine.load(flags.model, ctrl_c.token()));
  CRIA_TRY(flags.usual.adapters, flags.lora.load(model));
  CRIA_TRY(auto format, format_of(flags, model));
  const cria::batch_options options{.max_sequences = flags.parallel,
                                    .context_size = static_cast<std::size_t>(flags.engine.context),
                                    .cache_positions = flags.cache_positions,
                                    .max_waiting = flags.max_waiting,
                                    .n_threads = static_cast<std::size_t>(flags.engine.threads)};
  CRIA_TRY(const auto engine, serve_engine::create(model, options, flags.engine.chosen_cache(), *flags.usual.adapters));
  request_translator translator(model, std::move(format), engine->capacity(), flags.parallel + flags.max_waiting, flags.usual,
                                flags.sampling.seed.has_value());
  http_service service(flags.name.empty() ? std::filesystem::path(flags.model).stem().string() : flags.name, key, flags.allow_origin, *engine, translator);
  service.add_to(server);
  server.set_payload_max_length(std::numeric_limits<std::size_t>::max());   // receive() has limits
  server.set_keep_alive_timeout(keep_alive.count());
  constexpr std::size_t n_short_requests = 8;   // each connection has a thread, which mostly waits
  CRIA_TRY(auto threads, connection_threads::start(flags.parallel + flags.max_waiting + n_short_requests));
  server.new_task_queue = [&threads] { return threads.release(); };
  std::atomic<bool> has_ended{false};
  std::thread closer([&, stop = ctrl_c.token()] { close_when_told(stop, server, *engine, service, has_ended); });
  const bool is_ipv6 = flags.host.find(':') != std::string::npos;
  std::fprintf(stderr, is_ipv6 ? "listening on http://[%s]:%d\n" : "listening on http://%s:%d\n", flags.host.c_str(), port);
  const bool has_listened = server.listen_after_bind();
  has_ended = true;
  closer.join();
  if (!has_listened && !ctrl_c.token().stop_requested()) return error{errc::io, flags.host, "cannot be listened to"};
  return {};
}

}  // namespace

void add_serve(CLI::App& app, action& chosen) {
  const auto flags = std::make_shared<serve_flags>();
  CLI::App& c = *app.add_subcommand("serve", "Answer clients of OpenAI's API by HTTP, many at once");
  add_model_option(c, flags->model);
  c.add_option("--host", flags->host, "address to listen on; 0.0.0.0: all of this machine's")->capture_default_str();
  c.add_option("--port", flags->port, "0: any that is free")->check(CLI::Range(0, 65535))->capture_default_str();
  c.add_option("--name", flags->name, "what the model is called; otherwise as its file is");
  c.add_option("--api-key-file", flags->api_key_file, "file whose first line clients must send as their key; otherwise any will do")->check(CLI::ExistingFile);
  c.add_option("--allow-origin", flags->allow_origin, "web pages from there may use the server: http://example.org, or * for all");
  c.add_option("--parallel", flags->parallel, "requests computed at once")
      ->check(CLI::Range(std::size_t{1}, std::size_t{256}))
      ->capture_default_str();
  c.add_option("--queue", flags->max_waiting, "requests that may wait while all places are taken; one more is told to come again")
      ->check(CLI::Range(std::size_t{1}, std::size_t{512}))
      ->capture_default_str();
  c.add_option("-n,--tokens", flags->n_tokens, "at most so many tokens for a reply, unless its request says otherwise; 0: until the context is full")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 31))
      ->capture_default_str();
  c.add_option("--cache-positions", flags->cache_positions, "positions of all requests together; 0: full contexts for all")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{cria::session_options::max_context}));
  add_template_option(c, flags->chat_template);
  flags->sampling.add_to(c);
  flags->lora.add_to(c);
  flags->engine.add_to(c, usual_context);
  c.footer(
      "POST /v1/chat/completions and /v1/completions take messages or prompt, max_tokens, stop, stop_token_ids, stream, n, seed, logit_bias, logprobs,\n"
      "response_format, tools, tool_choice, parallel_tool_calls, grammar (GBNF), chat_template_kwargs, repetition_penalty and the numbers of\n"
      "cria::sampler_config. Members that cannot change the answer (user, metadata, store, ...) are passed over; all others are an error.\n"
      "Options of sampling are what requests leave open. POST /v1/embeddings (--lora acts on them too); GET /v1/models, /health, /metrics.\n"
      "SIGTERM and ctrl-C end it in order, within seconds.\n"
      "Each connection has a thread, of which there are --parallel plus --queue plus 8: clients that send their requests byte by byte can keep them all. Put\n"
      "a reverse proxy in front of a server that anybody can reach.");
  c.callback([flags, &chosen] {
    flags->usual.sampling = flags->sampling.checked();
    if (flags->n_tokens != 0) flags->usual.max_tokens = flags->n_tokens;
    chosen = [flags] { return run(*flags); };
  });
}

}  // namespace cria_program
