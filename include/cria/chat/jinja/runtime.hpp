// SPDX-License-Identifier: MIT
// chat/jinja/runtime.hpp - one rendering: its memory, what it may still use, its first failure; and how values are made.
//
// Ensures   every value made is charged, so that time and memory are bounded by limits.max_steps: the arena is reached through functions that charge, and
//           iterate() (operators.hpp) charges for what a loop will visit; no container is nested deeper than max_depth
// Errors    fail() keeps the first failure and returns a value that nobody uses; whoever loops asks has_failed()
// Threads   one rendering each
#pragma once

#include <cria/chat/jinja/rendering.hpp>
#include <cria/chat/jinja/value.hpp>
#include <cria/core/result.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace cria::inline v0_1_0::jinja {

/// What all parts of one rendering share.
class runtime {
 public:
  runtime(const limits& most, const civil_time& now) : now_(now), limits_(most), steps_left_(most.max_steps) {}
  runtime(const runtime&) = delete;
  runtime& operator=(const runtime&) = delete;

  [[nodiscard]] const civil_time& now() const noexcept { return now_; }
  [[nodiscard]] const limits& most() const noexcept { return limits_; }

  // Failure.

  /// Where in the template the work is being done.
  void go_to(std::uint32_t at) noexcept { at_ = at; }
  [[nodiscard]] std::uint32_t position() const noexcept { return at_; }
  [[nodiscard]] bool has_failed() const noexcept { return failure_.has_value(); }
  [[nodiscard]] const error& failure() const noexcept { return *failure_; }

  value fail(std::string_view message, errc code = errc::bad_value) {
    if (!failure_) {
      failure_ = error{code, {}, message};
      failed_at_ = at_;
    }
    return value::none();
  }
  [[nodiscard]] std::uint32_t failed_at() const noexcept { return failed_at_; }
  value fail_type(std::string_view what, const value& v) { return fail(std::string(what) + " " + std::string(type_name(v.type))); }

  /// Fails with why the value is undefined.
  value fail_undefined(const value& v) {
    const undefined& u = *v.cause;
    if (!u.hint.empty()) return fail(std::string(u.hint));
    const std::string name = u.name.is_string()         ? "'" + printable(u.name.bytes()) + "'"
                             : u.name.is(kind::integer) ? std::to_string(u.name.integer)
                                                        : "of that key";
    if (u.object.is_missing()) return fail(name + " is undefined");
    return fail("a " + std::string(type_name(u.object.type)) + " has no element " + name);
  }

  // Limits.

  /// Takes `n` steps; false, and a failure, where there are not as many left.
  bool charge(std::size_t n) {
    if (n <= steps_left_) return steps_left_ -= n, true;
    steps_left_ = 0;
    fail("the template takes more steps than it may", errc::limit_exceeded);
    return false;
  }
  /// For text that is copied.
  bool charge_bytes(std::size_t n) { return charge(1 + n / 32); }
  /// For text that is looked at character by character.
  bool charge_chars(std::size_t n) { return charge(1 + n / 8); }
  void allow(std::size_t more_steps) noexcept { steps_left_ += more_steps; }
  [[nodiscard]] std::size_t steps_left() const noexcept { return steps_left_; }

  /// Counts how deep the work is nested while it lives; ok() is false where that is too deep.
  class level {
   public:
    explicit level(runtime& rt) : rt_(rt) {
      if (++rt_.depth_ > rt_.limits_.max_depth) rt_.fail("nested more than " + std::to_string(rt_.limits_.max_depth) + " levels deep", errc::limit_exceeded);
    }
    ~level() { --rt_.depth_; }
    level(const level&) = delete;
    level& operator=(const level&) = delete;

   private:
    runtime& rt_;
  };

  // Memory. Only these functions give any, and they charge: one step, and one more for each 64 bytes.

  /// Makes one object; also where no steps are left, since the rendering ends soon.
  template <class T>
  [[nodiscard]] T* make(const T& from) {
    charge_memory(sizeof(T));
    return memory_.make<T>(from);
  }
  /// Returns `n` objects made by T{}; none where there are not enough steps left.
  template <class T>
  [[nodiscard]] std::span<T> make_array(std::size_t n) {
    return charge_memory(n * sizeof(T)) ? memory_.make_array<T>(n) : std::span<T>();
  }
  /// As many as the text of the template says (variables, arguments, elements of a literal): made also where no steps are left.
  template <class T>
  [[nodiscard]] std::span<T> make_fixed_array(std::size_t n) {
    charge_memory(n * sizeof(T));
    return memory_.make_array<T>(n);
  }
  /// Returns a copy; an empty one where there are not enough steps left.
  template <class T>
  [[nodiscard]] std::span<T> copy(std::span<const T> from) {
    return charge_memory(from.size_bytes()) ? memory_.copy(from) : std::span<T>();
  }
  [[nodiscard]] std::string_view copy(std::string_view from) {
    const auto bytes = copy(std::span<const char>(from));
    return {bytes.data(), bytes.size()};
  }
  /// Returns the bytes [start, start + length) of a text; none where there are not enough steps left.
  [[nodiscard]] text piece(const text& t, std::size_t start, std::size_t length) {
    const auto first = std::upper_bound(t.flips.begin(), t.flips.end(), start);
    const auto n_flips = static_cast<std::size_t>(std::lower_bound(first, t.flips.end(), start + length) - first);
    return charge(1 + n_flips / 8) ? part_of(memory_, t, start, length) : text{};
  }
  [[nodiscard]] text finish(const text_builder& built, bool is_safe = false) {
    return charge_bytes(built.cost()) ? built.finish(memory_, is_safe) : text{};
  }

  // Values.

  value string(std::string_view bytes, bool is_content = false) {
    if (!charge_bytes(bytes.size())) return value::none();
    text t{memory_.copy(bytes), {}};
    if (is_content && !bytes.empty()) t.flips = memory_.make_array<std::uint32_t>(1);
    return memory_.make<text>(t);
  }
  value string(const text_builder& built, bool is_safe = false) {
    if (!charge_bytes(built.cost())) return value::none();
    return memory_.make<text>(built.finish(memory_, is_safe));
  }
  /// A string of bytes that live as long as the rendering.
  value keep(const text& t) { return make(t); }
  value part(const text& t, std::size_t start, std::size_t length) {
    const text cut = piece(t, start, length);
    return has_failed() ? value::none() : keep(cut);
  }

  value sequence_of(kind type, std::span<const value> kept, std::string_view name = {}) {
    std::uint32_t depth = 1;
    for (const value& v : kept) depth = std::max(depth, depth_of(v) + 1);
    if (!charge(1 + kept.size() / 4) || !check_depth(depth)) return value::none();
    return {type, memory_.make<sequence>(sequence{kept, depth, name})};
  }
  /// A list or tuple of values that are copied.
  value make_sequence(kind type, std::span<const value> values) { return sequence_of(type, copy(values)); }
  value make_tuple(const value& first, const value& second) {
    const value both[] = {first, second};
    return make_sequence(kind::tuple, both);
  }
  value make_iterator(std::span<const value> values) {
    const value all = make_sequence(kind::list, values);
    return has_failed() ? all : value(make(*all.items));
  }
  value make_dict(std::span<const pair> pairs) {
    std::uint32_t depth = 1;
    for (const pair& p : pairs) depth = std::max({depth, depth_of(p.key) + 1, depth_of(p.mapped) + 1});
    if (!charge(1 + pairs.size() / 2) || !check_depth(depth)) return value::none();
    return memory_.make<dict>(dict{memory_.copy(pairs), depth});
  }
  value make_undefined(const value& object, const value& name) { return make(undefined{object, name, {}}); }
  value make_undefined(std::string_view hint) { return make(undefined{{}, {}, copy(hint)}); }
  value make_method(const builtin* native, const value& self) { return make(method{native, self}); }

 private:
  bool charge_memory(std::size_t bytes) { return charge(1 + bytes / 64); }
  [[nodiscard]] static std::uint32_t depth_of(const value& v) noexcept {
    if (v.is(kind::dict)) return v.members->depth;
    if (v.is(kind::iterator)) return v.iterator->depth;
    return v.is_container() ? v.items->depth : 0;
  }
  bool check_depth(std::size_t depth) {
    if (depth <= limits_.max_depth) return true;
    fail("values nested more than " + std::to_string(limits_.max_depth) + " levels deep", errc::limit_exceeded);
    return false;
  }

  arena memory_;
  civil_time now_;
  limits limits_;
  std::size_t steps_left_, depth_ = 0;
  std::uint32_t at_ = 0, failed_at_ = 0;
  std::optional<error> failure_;
};

}  // namespace cria::inline v0_1_0::jinja
