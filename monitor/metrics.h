#pragma once
// The metrics file: one JSON object a line, in the shape a Firecracker metrics reader understands.
// Counters are reported as the difference since the last line, as there; stored values as they are.
// Loop thread.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/result.h"
#include "base/unique_fd.h"

namespace mote::monitor {

/// Collects one line. Sections appear in the order of their first value.
class MetricsLine final {
 public:
  using Totals = std::unordered_map<std::string, uint64_t>;
  explicit MetricsLine(Totals& previous);
  ~MetricsLine();
  MetricsLine(const MetricsLine&) = delete;
  MetricsLine& operator=(const MetricsLine&) = delete;

  /// A counter that only grows: `total` since process start.
  void count(std::string_view section, std::string_view name, uint64_t total);
  /// A value as it is now.
  void store(std::string_view section, std::string_view name, uint64_t value);
  /// A latency triple: minimum and maximum as they are, the sum as a counter.
  void aggregate(std::string_view section, std::string_view name, uint64_t min_us, uint64_t max_us,
                 uint64_t sum_us);
  [[nodiscard]] std::string text() const;

 private:
  struct Document;
  uint64_t difference(std::string key, uint64_t total);

  Totals& previous_;
  std::unique_ptr<Document> document_;
};

/// The file, FIFO or socket the lines go to. A reader that stalls costs lines, never time.
class MetricsFile final {
 public:
  using Fill = std::function<void(MetricsLine&)>;

  /// kWrongState when a file is set already, as in the reference.
  base::Result<> open(const std::string& path);
  [[nodiscard]] bool is_open() const { return fd_.valid(); }
  /// Asks `fill` for the values and appends a line; nothing when no file is set.
  base::Result<> flush(const Fill& fill);
  [[nodiscard]] uint64_t missed_lines() const { return missed_lines_; }

 private:
  base::UniqueFd fd_;
  MetricsLine::Totals previous_;
  uint64_t missed_lines_ = 0;
};

}  // namespace mote::monitor
