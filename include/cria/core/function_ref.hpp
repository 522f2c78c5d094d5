// SPDX-License-Identifier: MIT
// core/function_ref.hpp - function_ref<R(Args...)>: a callable by reference, two pointers, no allocation.
//
// Lifetime  refers to the callable that it was made from: an argument of a call, never a member that outlives one
// Threads   calls the callable; whatever that allows
#pragma once

#include <cria/core/config.hpp>

#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace cria::inline v0_1_0 {

template <class Signature>
class function_ref;

/// A non-owning reference to anything that can be called with Args and gives an R.
template <class R, class... Args>
class function_ref<R(Args...)> {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, function_ref> && std::is_invocable_r_v<R, std::remove_reference_t<F>&, Args...>)
  function_ref(F&& f) noexcept {
    using callable = std::remove_reference_t<F>;
    if constexpr (std::is_function_v<callable>) {
      target_.function = reinterpret_cast<void (*)()>(std::addressof(f));
      call_ = [](target_type t, Args... args) -> R { return invoke(*reinterpret_cast<callable*>(t.function), std::forward<Args>(args)...); };
    } else {
      target_.object = std::addressof(f);
      call_ = [](target_type t, Args... args) -> R {
        return invoke(*static_cast<callable*>(const_cast<void*>(t.object)), std::forward<Args>(args)...);
      };
    }
  }

  R operator()(Args... args) const { return call_(target_, std::forward<Args>(args)...); }

 private:
  union target_type {
    const void* object;
    void (*function)();
  };

  template <class Callable>
  static R invoke(Callable& f, Args... args) {
    if constexpr (std::is_void_v<R>) {
      std::invoke(f, std::forward<Args>(args)...);
    } else {
      return std::invoke(f, std::forward<Args>(args)...);
    }
  }

  target_type target_;
  R (*call_)(target_type, Args...);
};

}  // namespace cria::inline v0_1_0
