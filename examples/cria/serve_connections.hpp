// SPDX-License-Identifier: MIT
// The connections of `cria serve`: their threads, and how the bodies of their requests are read. For cmd_serve.cpp alone: httplib.h has macros.
//
// What cpp-httplib leaves open is bounded here: how long and how slow a body may be, whatever its encoding and its type. Request lines and headers it reads
// itself, and a client that sends those byte by byte keeps a thread: whom anybody can reach needs a reverse proxy in front.
#pragma once

#include "subcommand.hpp"

#include <httplib.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace cria_program {

/// The threads that serve connections, each one at a time.
class connection_threads final : public httplib::TaskQueue {
  using accepted = decltype(std::declval<httplib::TaskQueue&>().enqueue({}));   // void, or in later versions bool

 public:
  /// Starts all of them, or none: without threads a server would listen and answer nobody.
  [[nodiscard]] static result<std::unique_ptr<connection_threads>> start(std::size_t n) {
    auto made = std::make_unique<connection_threads>();
    try {
      for (std::size_t i = 0; i < n; ++i) made->threads_.emplace_back([all = made.get()] { all->work(); });
    } catch (const std::system_error&) {
      return error{errc::out_of_memory, "threads", "the system gives " + std::to_string(made->threads_.size()) + " of " + std::to_string(n) +
                                                       " for connections; --parallel and --queue say how many are needed"};
    }
    return made;
  }
  ~connection_threads() override { shutdown(); }

  accepted enqueue(std::function<void()> connection) override {
    {
      const std::lock_guard lock(mutex_);
      connections_.push_back(std::move(connection));
    }
    changed_.notify_one();
    return static_cast<accepted>(true);
  }

  void shutdown() override {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    changed_.notify_all();
    for (std::thread& one : threads_) one.join();
    threads_.clear();
  }

 private:
  void work() {
    while (true) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return ends_ || !connections_.empty(); });
      if (connections_.empty()) return;
      const std::function<void()> connection = std::move(connections_.front());
      connections_.pop_front();
      lock.unlock();
      connection();
    }
  }

  std::vector<std::thread> threads_;
  std::deque<std::function<void()>> connections_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ends_ = false;
};

/// What was read of a request's body.
struct received_body {
  std::string text;
  int status = 200;      ///< otherwise why there is no text
  bool is_over = true;   ///< false: some of it is still to come, and the connection must end
};

[[nodiscard]] inline bool has_body(const httplib::Request& asked) {
  return asked.has_header("Transfer-Encoding") || (asked.has_header("Content-Length") && asked.get_header_value("Content-Length") != "0");
}

/// Reads a body. What is too long is read and thrown away, up to a limit: clients hear what is wrong only after they have sent everything. `keeps`: false
/// throws it all away.
[[nodiscard]] inline received_body receive(const httplib::Request& asked, const httplib::ContentReader& read, bool keeps) {
  constexpr std::size_t longest = std::size_t{16} << 20;
  const std::size_t most_read = std::size_t{keeps ? 64U : 4U} << 20;
  constexpr double patience_seconds = 10, slowest_bytes_per_second = 8192;
  received_body got;
  if (!has_body(asked)) return got;
  const std::size_t n_ends = asked.get_header_value_count("Transfer-Encoding") + asked.get_header_value_count("Content-Length");
  if (n_ends > 1) return {{}, 400, false};   // proxies may see another one than httplib
  if (asked.is_multipart_form_data()) return {{}, 415, false};
  const auto start = std::chrono::steady_clock::now();
  std::size_t n = 0;
  bool is_slow = false;
  const bool is_whole = read([&](const char* bytes, std::size_t size) {
    n += size;
    if (keeps && n <= longest) got.text.append(bytes, size);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    is_slow = taken.count() > patience_seconds + static_cast<double>(n) / slowest_bytes_per_second;
    return n <= most_read && !is_slow;
  });
  if (is_whole && n <= longest) return got;
  return {{}, n > longest ? 413 : is_slow ? 408 : 400, is_whole};
}

/// Answers, and ends the connection, although httplib decides that by the request: an answer that fails when it has been written does the same.
inline void finish_with(httplib::Response& reply, std::string text, const char* type) {
  reply.set_header("Connection", "close");
  const std::size_t size = text.size();
  reply.set_content_provider(size, type, [text = std::move(text)](std::size_t, std::size_t, httplib::DataSink& sink) {
    static_cast<void>(sink.write(text.data(), text.size()));
    return false;
  });
}

}  // namespace cria_program
