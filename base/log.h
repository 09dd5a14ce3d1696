#pragma once
// The one logger (spdlog behind it). Lines look like Firecracker's, so that log readers keep
// working:
//   2026-01-31T12:00:00.123456789 [id:thread:LEVEL:file:line] text
// Any thread may log. A line is one write(2) on a non-blocking descriptor: a reader that stalls
// costs lines (counted in lost_lines()), never time. Guest-triggered lines must go through
// RateLimitedLog.

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include "base/result.h"

namespace mote::base::log {

enum class Level : uint8_t { kOff, kError, kWarning, kInfo, kDebug, kTrace };

/// Parses Error, Warning (or Warn), Info, Debug, Trace, Off in any case.
Result<Level> parse_level(std::string_view text);
std::string_view level_name(Level level);

struct Options {
  std::string path;  ///< Empty: standard error (level at most kInfo until configured).
  std::string instance_id;
  std::string module;  ///< Only lines whose source path begins with this; empty: all.
  Level level = Level::kInfo;
  bool show_level = false;
  bool show_origin = false;
};

/// Replaces the configuration. On error the old one stays.
Result<> configure(const Options& options);

[[nodiscard]] bool enabled(Level level);
[[nodiscard]] uint64_t lost_lines();
/// Lines of level Error or Warning since start: the monitor's `logger` metrics.
[[nodiscard]] uint64_t problem_lines();

/// For a signal handler that ends the process: one write(2) of these bytes to where the log goes.
void write_in_signal(std::string_view line);

void write(Level level, const char* file, int line, std::string_view text);

template <typename... Args>
void format_and_write(Level level, const char* file, int line, fmt::format_string<Args...> format,
                      Args&&... args) {
  fmt::basic_memory_buffer<char, 512> text;
  fmt::format_to(std::back_inserter(text), format, std::forward<Args>(args)...);
  write(level, file, line, {text.data(), text.size()});
}

/// Lets through a burst of lines and then one a second, so that a guest cannot fill a disk with
/// logs. Owned by the object that a guest can make complain. Any thread.
class RateLimitedLog final {
 public:
  /// True when the caller may log now.
  [[nodiscard]] bool allow();

 private:
  static constexpr uint32_t kBurst = 10;
  std::atomic<uint32_t> used_{0};
  std::atomic<int64_t> second_{0};
};

}  // namespace mote::base::log

#define MOTE_LOG(level, ...)                                                       \
  do {                                                                             \
    if (::mote::base::log::enabled(level))                                         \
      ::mote::base::log::format_and_write(level, __FILE__, __LINE__, __VA_ARGS__); \
  } while (false)
#define LOG_ERROR(...) MOTE_LOG(::mote::base::log::Level::kError, __VA_ARGS__)
#define LOG_WARNING(...) MOTE_LOG(::mote::base::log::Level::kWarning, __VA_ARGS__)
#define LOG_INFO(...) MOTE_LOG(::mote::base::log::Level::kInfo, __VA_ARGS__)
#define LOG_DEBUG(...) MOTE_LOG(::mote::base::log::Level::kDebug, __VA_ARGS__)
/// A guest-triggered line: LOG_GUEST(limiter, "...", args).
#define LOG_GUEST(limiter, ...)                      \
  do {                                               \
    if ((limiter).allow()) LOG_WARNING(__VA_ARGS__); \
  } while (false)
