#include "monitor/metrics.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace mote::monitor {
namespace {

class Metrics : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }
  std::vector<std::string> lines() const {
    std::ifstream file(path_);
    std::vector<std::string> result;
    for (std::string line; std::getline(file, line);) result.push_back(line);
    return result;
  }
  std::string path_ = testing::TempDir() + "mote_metrics_test_" + std::to_string(::getpid());
  MetricsFile file_;
};

TEST_F(Metrics, CountersAreDifferencesAndStoresAreNot) {
  ASSERT_TRUE(file_.open(path_));
  for (const uint64_t total : {5U, 12U}) {
    ASSERT_TRUE(file_.flush([&](MetricsLine& line) {
      line.count("block", "read_bytes", total);
      line.store("api_server", "process_startup_time_us", 77);
      line.aggregate("block", "read_agg", 1, 9, total * 10);
    }));
  }
  const auto text = lines();
  ASSERT_EQ(text.size(), 2U);
  EXPECT_NE(text[0].find("\"read_bytes\":5,"), std::string::npos) << text[0];
  EXPECT_NE(text[1].find("\"read_bytes\":7,"), std::string::npos) << text[1];
  EXPECT_NE(text[1].find("\"process_startup_time_us\":77"), std::string::npos) << text[1];
  EXPECT_NE(text[1].find("{\"min_us\":1,\"max_us\":9,\"sum_us\":70}"), std::string::npos)
      << text[1];
  EXPECT_TRUE(text[1].starts_with("{\"utc_timestamp_ms\":")) << text[1];
}

TEST_F(Metrics, ALineThatWasNotWrittenIsToldNextTime) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  ASSERT_TRUE(file_.open(path_));
  uint64_t total = 0;
  while (
      file_.flush([&](MetricsLine& line) { line.count("a", std::string(3000, 'n'), ++total); })) {
    ASSERT_LT(total, 1000U) << "the pipe never filled";
  }
  EXPECT_EQ(file_.missed_lines(), 1U);
}

TEST_F(Metrics, SecondPathAndBadPathAreRefused) {
  EXPECT_FALSE(file_.open("/nonexistent/metrics"));
  ASSERT_TRUE(file_.open(path_));
  const auto again = file_.open(path_);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, base::ErrorCode::kWrongState);
}

}  // namespace
}  // namespace mote::monitor
