#pragma once
// What a measuring program hands on: one JSON object a line, each a named series of values. The
// report is drawn from these lines alone, so every figure in it can be traced to its values.

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

namespace mote::bench {

/// Values of one metric of one subject ("mote", a peer's name, "host").
struct Series {
  std::string subject;
  std::string metric;
  std::string unit;
  std::vector<double> values;

  /// The value below which `part` (0 to 1) of all lie; 0 without values.
  [[nodiscard]] double quantile(double part) const {
    if (values.empty()) return 0;
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<size_t>(part * static_cast<double>(sorted.size() - 1))];
  }
};

/// Prints series for people on standard output and, when a file is given, for the report.
class Figures final {
 public:
  explicit Figures(std::string json_path) : json_path_(std::move(json_path)) {}

  void add(const Series& series) {
    std::printf("  %-18s %-30s median %10.3f  p10 %10.3f  p90 %10.3f  p99 %10.3f %s (n=%zu)\n",
                series.subject.c_str(), series.metric.c_str(), series.quantile(0.5),
                series.quantile(0.1), series.quantile(0.9), series.quantile(0.99),
                series.unit.c_str(), series.values.size());
    std::fflush(stdout);
    if (!json_path_.empty()) append(series);
  }

 private:
  // Names are the program's own and plain: nothing in them needs an escape.
  void append(const Series& series) const {
    std::FILE* const file = std::fopen(json_path_.c_str(), "ae");
    if (file == nullptr) return std::perror(json_path_.c_str());
    std::fprintf(file, R"({"subject":"%s","metric":"%s","unit":"%s","values":[)",
                 series.subject.c_str(), series.metric.c_str(), series.unit.c_str());
    for (size_t i = 0; i < series.values.size(); ++i) {
      std::fprintf(file, "%s%.6g", i == 0 ? "" : ",", series.values[i]);
    }
    std::fputs("]}\n", file);
    std::fclose(file);
  }

  std::string json_path_;
};

}  // namespace mote::bench
