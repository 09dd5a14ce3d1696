#include "monitor/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "base/clock.h"

namespace mote::monitor {

struct MetricsLine::Document {
  boost::json::object root;

  boost::json::object& section(std::string_view name) {
    boost::json::value& value = root[name];
    if (!value.is_object()) value.emplace_object();
    return value.get_object();
  }
};

MetricsLine::MetricsLine(Totals& previous)
    : previous_(previous), document_(std::make_unique<Document>()) {
  document_->root["utc_timestamp_ms"] = base::clock_ns(CLOCK_REALTIME) / 1'000'000;
}

MetricsLine::~MetricsLine() = default;

uint64_t MetricsLine::difference(std::string key, uint64_t total) {
  uint64_t& before = previous_[std::move(key)];
  const uint64_t delta = total - before;
  before = total;
  return delta;
}

void MetricsLine::count(std::string_view section, std::string_view name, uint64_t total) {
  std::string key = std::string(section) + '/' + std::string(name);
  document_->section(section)[name] = difference(std::move(key), total);
}

void MetricsLine::store(std::string_view section, std::string_view name, uint64_t value) {
  document_->section(section)[name] = value;
}

void MetricsLine::aggregate(std::string_view section, std::string_view name, uint64_t min_us,
                            uint64_t max_us, uint64_t sum_us) {
  std::string key = std::string(section) + '/' + std::string(name);
  document_->section(section)[name] = {
      {"min_us", min_us}, {"max_us", max_us}, {"sum_us", difference(std::move(key), sum_us)}};
}

std::string MetricsLine::text() const {
  return boost::json::serialize(document_->root) + "\n";
}

base::Result<> MetricsFile::open(const std::string& path) {
  if (fd_.valid()) {
    return base::fail(base::ErrorCode::kWrongState,
                      "metrics_path: the metrics file is set already");
  }
  // Read-write, so that opening a FIFO does not wait for its reader; and such a FIFO never gives
  // SIGPIPE.
  base::UniqueFd fd(
      ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644));
  if (!fd.valid()) return base::fail_errno(errno, "metrics_path: cannot open " + path);
  fd_ = std::move(fd);
  return {};
}

base::Result<> MetricsFile::flush(const Fill& fill) {
  if (!fd_.valid()) return {};
  MetricsLine::Totals before = previous_;
  std::string text;
  {
    MetricsLine line(previous_);
    fill(line);
    text = line.text();
  }
  const ssize_t written = ::write(fd_.get(), text.data(), text.size());
  if (written == static_cast<ssize_t>(text.size())) return {};
  const int reason = written < 0 ? errno : EIO;
  ++missed_lines_;
  previous_ = std::move(before);  // What was not told is told next time.
  return base::fail_errno(reason, "metrics_path: cannot write a line");
}

}  // namespace mote::monitor
