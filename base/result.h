#pragma once
// The one error convention: every fallible function returns Result<T>. Host faults travel upward as
// an Error; each layer that knows more (a field name, a path) adds it with with_context().

#include <cerrno>
#include <cstring>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace mote::base {

/// What kind of fault an Error is; callers branch on this, never on the text.
enum class ErrorCode {
  kInvalidArgument,  ///< The caller's input is wrong: a field, an option, a file's content.
  kWrongState,       ///< Right input at the wrong time (before or after boot, for one).
  kNotFound,         ///< A named thing does not exist.
  kUnsupported,      ///< Host or monitor lacks the asked capability.
  kIo,               ///< The operating system refused; os_errno says why.
  kCorrupt,          ///< Bytes from outside break their format.
  kInternal,         ///< Our own bug, noticed before harm.
};

/// A host-side fault. `os_errno` is 0 where no system call failed.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  int os_errno = 0;
  std::string context;

  /// The text for people: context plus the operating system's reason.
  [[nodiscard]] std::string message() const {
    if (os_errno == 0) return context;
    return context + ": " + std::strerror(os_errno) + " (os error " + std::to_string(os_errno) +
           ")";
  }
};

template <typename T = void>
using Result = std::expected<T, Error>;

/// An Error without a system call behind it.
[[nodiscard]] inline std::unexpected<Error> fail(ErrorCode code, std::string context) {
  return std::unexpected(Error{code, 0, std::move(context)});
}

/// An Error from a failed system call; pass errno (or a negated io_uring result).
[[nodiscard]] inline std::unexpected<Error> fail_errno(int os_errno, std::string context) {
  return std::unexpected(Error{ErrorCode::kIo, os_errno, std::move(context)});
}

/// Puts "outer: " before an error's context on its way up.
[[nodiscard]] inline std::unexpected<Error> with_context(Error error, std::string_view outer) {
  error.context = std::string(outer) + ": " + error.context;
  return std::unexpected(std::move(error));
}

}  // namespace mote::base

#define MOTE_CONCAT_INNER(a, b) a##b
#define MOTE_CONCAT(a, b) MOTE_CONCAT_INNER(a, b)

/// MOTE_TRY(auto x, call()) declares x from the value of a Result or returns its Error.
#define MOTE_TRY(declaration, expression)                                          \
  auto MOTE_CONCAT(try_result_, __LINE__) = (expression);                          \
  if (!MOTE_CONCAT(try_result_, __LINE__)) {                                       \
    return std::unexpected(std::move(MOTE_CONCAT(try_result_, __LINE__)).error()); \
  }                                                                                \
  declaration = std::move(MOTE_CONCAT(try_result_, __LINE__)).value()

/// The same for Result<void>.
#define MOTE_TRY_VOID(expression)                            \
  do {                                                       \
    if (auto try_result = (expression); !try_result) {       \
      return std::unexpected(std::move(try_result).error()); \
    }                                                        \
  } while (false)
