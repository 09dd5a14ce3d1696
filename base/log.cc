#include "base/log.h"

#define SPDLOG_HEADER_ONLY
#include <fcntl.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <mutex>

#include "base/unique_fd.h"

namespace mote::base::log {
namespace {

/// One non-blocking write(2) per line; lines that do not fit the reader are counted and dropped.
class DescriptorSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  DescriptorSink(int fd, std::atomic<uint64_t>& lost) : fd_(fd), lost_(lost) {}
  ~DescriptorSink() override {
    if (fd_ != STDERR_FILENO) ::close(fd_);
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    const ssize_t written = ::write(fd_, line.data(), line.size());
    if (written != static_cast<ssize_t>(line.size())) lost_.fetch_add(1, std::memory_order_relaxed);
  }
  void flush_() override {}

 private:
  int fd_;
  std::atomic<uint64_t>& lost_;
};

struct State {
  std::mutex mutex;
  std::shared_ptr<spdlog::logger> logger;  // Guarded by mutex; copied out to log.
  std::string module;
  std::atomic<Level> level{Level::kInfo};
  std::atomic<int> fd{STDERR_FILENO};
  std::atomic<uint64_t> lost{0};
  std::atomic<uint64_t> problems{0};
};

// The logger is the process's one deliberate global: every layer may need to say something.
State& state() {
  static State instance;
  return instance;
}

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kOff:
      return spdlog::level::off;
    case Level::kError:
      return spdlog::level::err;
    case Level::kWarning:
      return spdlog::level::warn;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kTrace:
      return spdlog::level::trace;
  }
  return spdlog::level::info;
}

/// The pattern is built from the instance id, so a percent sign in the id must not become a flag.
std::string escape_pattern(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    escaped += c;
    if (c == '%') escaped += '%';
  }
  return escaped;
}

std::string make_pattern(const Options& options) {
  std::string pattern = "%Y-%m-%dT%H:%M:%S.%F [";
  pattern +=
      escape_pattern(options.instance_id.empty() ? "anonymous-instance" : options.instance_id);
  pattern += ":%t";
  if (options.show_level) pattern += ":%l";
  if (options.show_origin) pattern += ":%s:%#";
  return pattern + "] %v";
}

std::shared_ptr<spdlog::logger> make_logger(const Options& options, int fd,
                                            std::atomic<uint64_t>& lost) {
  auto sink = std::make_shared<DescriptorSink>(fd, lost);
  auto logger = std::make_shared<spdlog::logger>("mote", std::move(sink));
  logger->set_formatter(std::make_unique<spdlog::pattern_formatter>(
      make_pattern(options), spdlog::pattern_time_type::utc, "\n"));
  logger->set_level(spdlog::level::trace);  // enabled() has already decided.
  return logger;
}

}  // namespace

Result<Level> parse_level(std::string_view text) {
  std::string lower;
  for (const char c : text) lower += (c >= 'A' && c <= 'Z') ? static_cast<char>(c - 'A' + 'a') : c;
  if (lower == "off") return Level::kOff;
  if (lower == "error") return Level::kError;
  if (lower == "warning" || lower == "warn") return Level::kWarning;
  if (lower == "info") return Level::kInfo;
  if (lower == "debug") return Level::kDebug;
  if (lower == "trace") return Level::kTrace;
  return fail(
      ErrorCode::kInvalidArgument,
      "level: \"" + std::string(text) + "\" is not one of Off, Error, Warning, Info, Debug, Trace");
}

std::string_view level_name(Level level) {
  static constexpr std::array<std::string_view, 6> kNames = {"Off",  "Error", "Warning",
                                                             "Info", "Debug", "Trace"};
  return kNames[static_cast<size_t>(level)];
}

Result<> configure(const Options& options) {
  int fd = STDERR_FILENO;
  if (!options.path.empty()) {
    // Read-write, so that opening a FIFO does not wait for its reader.
    fd = ::open(options.path.c_str(),
                O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644);
    if (fd < 0)
      fd = ::open(options.path.c_str(),
                  O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644);
    if (fd < 0) return fail_errno(errno, "log_path: cannot open " + options.path);
  }
  State& global = state();
  auto logger = make_logger(options, fd, global.lost);
  const std::scoped_lock lock(global.mutex);
  global.fd.store(fd, std::memory_order_relaxed);
  global.logger = std::move(logger);
  global.module = options.module;
  global.level.store(options.level, std::memory_order_relaxed);
  return {};
}

bool enabled(Level level) {
  return level != Level::kOff && level <= state().level.load(std::memory_order_relaxed);
}

uint64_t lost_lines() {
  return state().lost.load(std::memory_order_relaxed);
}
uint64_t problem_lines() {
  return state().problems.load(std::memory_order_relaxed);
}

void write_in_signal(std::string_view line) {
  if (::write(state().fd.load(std::memory_order_relaxed), line.data(), line.size()) < 0) {
    return;  // Nobody is left to be told.
  }
}

void write(Level level, const char* file, int line, std::string_view text) {
  State& global = state();
  if (level <= Level::kWarning) global.problems.fetch_add(1, std::memory_order_relaxed);
  std::shared_ptr<spdlog::logger> logger;
  {
    const std::scoped_lock lock(global.mutex);
    if (!global.module.empty() && !std::string_view(file).starts_with(global.module)) return;
    if (!global.logger) global.logger = make_logger(Options{}, STDERR_FILENO, global.lost);
    logger = global.logger;
  }
  logger->log(spdlog::source_loc{file, line, ""}, to_spdlog(level),
              spdlog::string_view_t(text.data(), text.size()));
}

bool RateLimitedLog::allow() {
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(
                       std::chrono::steady_clock::now().time_since_epoch())
                       .count();
  if (used_.load(std::memory_order_relaxed) < kBurst) {
    used_.fetch_add(1, std::memory_order_relaxed);
    second_.store(now, std::memory_order_relaxed);
    return true;
  }
  int64_t last = second_.load(std::memory_order_relaxed);
  return now > last && second_.compare_exchange_strong(last, now, std::memory_order_relaxed);
}

}  // namespace mote::base::log
