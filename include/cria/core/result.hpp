// SPDX-License-Identifier: MIT
// core/result.hpp - errors as values: errc, error, and result<T> (a subset of std::expected<T, error>).
//
// Ensures   A function that can fail because of its input, its options or the system returns result<T>. When it fails, it has changed nothing.
// Errors    value() on an error throws cria::exception, or terminates where exceptions are off
// Threads   values; nothing is shared
#pragma once

#include <cria/core/config.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace cria::inline v0_1_0 {

/// What kind of error it is. There is one code for each reaction that a caller may have; the details are in error::where and error::message.
enum class errc : std::uint8_t {
  io,                        ///< the operating system refused; `where` holds the path, `message` its reason
  truncated,                 ///< the file ends before something that it declares: download it again
  bad_magic,                 ///< not a file of this kind
  unsupported_version,       ///< a version or byte order of the file that cria does not read
  limit_exceeded,            ///< larger than the host's limits allow
  missing_key,               ///< metadata that the model needs is absent
  missing_tensor,            ///< a tensor that the model needs is absent
  wrong_type,                ///< metadata of another type than its key has
  bad_value,                 ///< a value that is out of range or contradicts another one
  bad_shape,                 ///< a tensor's dimensions do not fit the model
  duplicate,                 ///< a key or tensor name appears twice
  unsupported_type,          ///< a block format that cria does not compute with
  unsupported_architecture,  ///< a model family that cria does not know
  unsupported_tokenizer,     ///< a tokenizer or pre-tokenizer that cria does not know
  unsupported_cpu,           ///< this processor lacks what the kernels were compiled for
  non_finite,                ///< inf or NaN in weights or scores
  out_of_memory,             ///< the system refused memory
  cancelled,                 ///< the host asked to stop
  context_full,              ///< the sequence does not fit the context
  bad_argument,              ///< an argument out of its documented range
  mismatch,                  ///< two things do not belong together, such as the parts of a file, or a saved session and a model
  syntax,                    ///< a template, grammar or schema that does not parse; `where` holds line and column
  host_exception,            ///< code of the host threw inside a batch, where other requests go on: `where` names the code, `message` is its what()
};

/// Returns the code's name as written in the enum.
[[nodiscard]] constexpr std::string_view name(errc code) noexcept {
  constexpr std::string_view names[] = {
      "io",         "truncated",     "bad_magic",       "unsupported_version", "limit_exceeded",           "missing_key",
      "missing_tensor", "wrong_type",    "bad_value",       "bad_shape",           "duplicate",                "unsupported_type",
      "unsupported_architecture", "unsupported_tokenizer", "unsupported_cpu", "non_finite", "out_of_memory", "cancelled",
      "context_full", "bad_argument", "mismatch", "syntax", "host_exception"};
  return names[static_cast<std::size_t>(code)];
}

/// An error: its code, where it occurred (a key, tensor, path, option, or line and column), and what was found there.
struct error {
  static constexpr std::uint64_t no_offset = ~std::uint64_t{0};

  errc code = errc::bad_argument;
  std::string where;                  ///< printable: names of files are UTF-8, all else is ASCII; other bytes are escaped, long texts are cut
  std::string message;                ///< one line, printable
  std::uint64_t offset = no_offset;   ///< byte offset in the file, where one is known

  // Not inlined: expanded at every failing return, these would be most of the code that a host's translation unit compiles.
  CRIA_NOINLINE error() {}
  CRIA_NOINLINE error(errc c, std::string_view w, std::string_view m = {}, std::uint64_t at = no_offset) : code(c), where(w), message(m), offset(at) {}
  CRIA_NOINLINE error(const error& other) : code(other.code), where(other.where), message(other.message), offset(other.offset) {}
  CRIA_NOINLINE error(error&& other) noexcept
      : code(other.code), where(std::move(other.where)), message(std::move(other.message)), offset(other.offset) {}
  CRIA_NOINLINE error& operator=(error other) noexcept {
    code = other.code;
    where.swap(other.where);
    message.swap(other.message);
    offset = other.offset;
    return *this;
  }
  CRIA_NOINLINE ~error() {}

  /// Returns "code: where: message (at byte N)".
  [[nodiscard]] CRIA_NOINLINE std::string to_string() const {
    std::string s{name(code)};
    if (!where.empty()) s += ": " + where;
    if (!message.empty()) s += ": " + message;
    if (offset != no_offset) s += " (at byte " + std::to_string(offset) + ")";
    return s;
  }
};

/// Returns text from an untrusted file as printable ASCII, at most `limit` characters of it.
[[nodiscard]] inline std::string printable(std::string_view text, std::size_t limit = 80) {
  constexpr char hex[] = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < text.size() && i < limit; ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c < 0x7f && c != '\\') {
      out += static_cast<char>(c);
    } else {
      out += {'\\', 'x', hex[c >> 4], hex[c & 15]};
    }
  }
  if (text.size() > limit) out += "...";
  return out;
}

#if CRIA_HAS_EXCEPTIONS
/// What result<T>::value() throws.
class exception : public std::runtime_error {
 public:
  explicit exception(cria::error e) : std::runtime_error(e.to_string()), error_(std::move(e)) {}
  [[nodiscard]] const cria::error& error() const noexcept { return error_; }

 private:
  cria::error error_;
};
#endif

namespace detail {
[[noreturn]] inline void no_value(const error& e) {
#if CRIA_HAS_EXCEPTIONS
  throw exception(e);
#else
  CRIA_ASSERT(false && "cria::result::value() on an error");
  static_cast<void>(e);
  std::terminate();
#endif
}
}  // namespace detail

template <class T>
class result;

namespace detail {
template <class T>
inline constexpr bool is_result = false;
template <class T>
inline constexpr bool is_result<result<T>> = true;
}  // namespace detail

/// Holds a T or an error. The names are those of std::expected. Requires that moving a T does not throw.
template <class T>
class [[nodiscard]] result {
 public:
  using value_type = T;
  using error_type = cria::error;

  template <class U = T>
    requires(std::is_constructible_v<T, U> && !std::is_same_v<std::remove_cvref_t<U>, error_type> &&
             (!detail::is_result<std::remove_cvref_t<U>> || std::is_same_v<std::remove_cvref_t<U>, T>))  // result<bool> must not take another result as true
  result(U&& value) : value_(std::forward<U>(value)), has_value_(true) {}
  result(error_type e) noexcept : error_(std::move(e)), has_value_(false) {}

  result(result&& other) noexcept : has_value_(other.has_value_) {
    static_assert(std::is_nothrow_move_constructible_v<T>);
    take(std::move(other));
  }
  result(const result& other)
    requires(std::is_copy_constructible_v<T>)
      : has_value_(other.has_value_) {
    if (has_value_) {
      std::construct_at(std::addressof(value_), other.value_);
    } else {
      std::construct_at(std::addressof(error_), other.error_);
    }
  }
  result& operator=(result other) noexcept {
    destroy();
    has_value_ = other.has_value_;
    take(std::move(other));
    return *this;
  }
  ~result() { destroy(); }

  [[nodiscard]] bool has_value() const noexcept { return has_value_; }
  explicit operator bool() const noexcept { return has_value_; }

  /// Requires has_value().
  [[nodiscard]] T& operator*() & noexcept { return expect_value(), value_; }
  [[nodiscard]] const T& operator*() const& noexcept { return expect_value(), value_; }
  [[nodiscard]] T operator*() && noexcept { return expect_value(), std::move(value_); }   // by value: a reference would dangle in for (auto& x : *f())
  [[nodiscard]] T* operator->() noexcept { return expect_value(), std::addressof(value_); }
  [[nodiscard]] const T* operator->() const noexcept { return expect_value(), std::addressof(value_); }

  [[nodiscard]] T& value() & { return check(), value_; }
  [[nodiscard]] const T& value() const& { return check(), value_; }
  [[nodiscard]] T value() && { return check(), std::move(value_); }
  template <class U>
  [[nodiscard]] T value_or(U&& other) const& {
    return has_value_ ? value_ : static_cast<T>(std::forward<U>(other));
  }

  /// Requires !has_value().
  [[nodiscard]] const error_type& error() const& noexcept { return expect_error(), error_; }
  [[nodiscard]] error_type&& error() && noexcept { return expect_error(), std::move(error_); }

  template <class F>
  auto and_then(F&& f) && -> std::invoke_result_t<F, T&&> {
    if (has_value_) return std::forward<F>(f)(std::move(value_));
    return std::move(error_);
  }
  template <class F>
  auto transform(F&& f) && -> result<std::invoke_result_t<F, T&&>> {
    if (has_value_) return std::forward<F>(f)(std::move(value_));
    return std::move(error_);
  }

 private:
  void expect_value() const noexcept { CRIA_ASSERT(has_value_); }
  void expect_error() const noexcept { CRIA_ASSERT(!has_value_); }
  void check() const {
    if (!has_value_) detail::no_value(error_);
  }
  void take(result&& other) noexcept {
    if (has_value_) {
      std::construct_at(std::addressof(value_), std::move(other.value_));
    } else {
      std::construct_at(std::addressof(error_), std::move(other.error_));
    }
  }
  void destroy() noexcept {
    if (has_value_) {
      std::destroy_at(std::addressof(value_));
    } else {
      std::destroy_at(std::addressof(error_));
    }
  }

  union {
    T value_;
    error_type error_;
  };
  bool has_value_;
};

template <>
class [[nodiscard]] result<void> {
 public:
  using value_type = void;
  using error_type = cria::error;

  result() noexcept = default;
  result(error_type e) : error_(std::move(e)) {}
  [[nodiscard]] bool has_value() const noexcept { return !error_; }
  explicit operator bool() const noexcept { return !error_; }
  void value() const {
    if (error_) detail::no_value(*error_);
  }
  /// Requires !has_value().
  [[nodiscard]] const error_type& error() const& noexcept {
    CRIA_ASSERT(error_.has_value());
    return *error_;
  }
  [[nodiscard]] error_type&& error() && noexcept {
    CRIA_ASSERT(error_.has_value());
    return std::move(*error_);
  }

 private:
  std::optional<error_type> error_;
};

/// Runs `f`, which returns a result, and turns std::bad_alloc and std::length_error into errc::out_of_memory; other exceptions pass through.
template <class F>
auto catch_bad_alloc(F&& f, std::string_view where) -> std::invoke_result_t<F> {
#if CRIA_HAS_EXCEPTIONS
  try {
    return std::forward<F>(f)();
  } catch (const std::bad_alloc&) {
  } catch (const std::length_error&) {
  }
  return error{errc::out_of_memory, where.substr(0, 15)};
#else
  static_cast<void>(where);
  return std::forward<F>(f)();
#endif
}

}  // namespace cria::inline v0_1_0

/// Declares `decl` from the value of `expr`, or returns its error from the enclosing function.
#define CRIA_TRY(decl, ...)                                                            \
  auto CRIA_CONCAT(cria_result_, __LINE__) = (__VA_ARGS__);                            \
  if (!CRIA_CONCAT(cria_result_, __LINE__)) return std::move(CRIA_CONCAT(cria_result_, __LINE__)).error(); \
  decl = *std::move(CRIA_CONCAT(cria_result_, __LINE__))

/// Returns the error of `expr`, a result<void>, from the enclosing function if there is one.
#define CRIA_CHECK(...)                                                                \
  if (auto cria_check_ = (__VA_ARGS__); !cria_check_) return std::move(cria_check_).error()
