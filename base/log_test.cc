#include "base/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace mote::base::log {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class Log : public testing::Test {
 protected:
  void TearDown() override {
    ASSERT_TRUE(configure(Options{}));
    std::filesystem::remove(path_);
  }
  std::string path_ = testing::TempDir() + "mote_log_test_" + std::to_string(::getpid());
};

TEST_F(Log, LinesCarryIdLevelAndOrigin) {
  ASSERT_TRUE(configure({.path = path_,
                         .instance_id = "vm%1",
                         .module = {},
                         .level = Level::kInfo,
                         .show_level = true,
                         .show_origin = true}));
  LOG_INFO("hello {}", 7);
  LOG_DEBUG("not seen");
  const std::string text = read_file(path_);
  EXPECT_NE(text.find("[vm%1:"), std::string::npos) << text;
  EXPECT_NE(text.find(":info:log_test.cc:"), std::string::npos) << text;
  EXPECT_NE(text.find("] hello 7\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("not seen"), std::string::npos);
}

TEST_F(Log, AStalledFifoLosesLinesNotTime) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  ASSERT_TRUE(configure({.path = path_, .instance_id = "vm", .module = {}}));
  const uint64_t lost_before = lost_lines();
  for (int i = 0; i < 2000; ++i)
    LOG_INFO("a line long enough to fill the pipe sooner rather than later {}", i);
  EXPECT_GT(lost_lines(), lost_before);
}

TEST_F(Log, BadPathKeepsTheOldLog) {
  ASSERT_TRUE(configure({.path = path_, .instance_id = "vm", .module = {}}));
  const auto outcome =
      configure({.path = "/nonexistent/dir/log", .instance_id = "vm", .module = {}});
  ASSERT_FALSE(outcome);
  EXPECT_NE(outcome.error().message().find("log_path"), std::string::npos);
  LOG_INFO("still here");
  EXPECT_NE(read_file(path_).find("still here"), std::string::npos);
}

TEST(LogLevel, ParsesAnyCaseAndNamesTheBadValue) {
  EXPECT_EQ(parse_level("WARN").value(), Level::kWarning);
  EXPECT_EQ(parse_level("Trace").value(), Level::kTrace);
  EXPECT_NE(parse_level("loud").error().message().find("loud"), std::string::npos);
}

TEST(RateLimitedLog, AllowsABurstThenStops) {
  RateLimitedLog limiter;
  int allowed = 0;
  for (int i = 0; i < 1000; ++i) allowed += limiter.allow() ? 1 : 0;
  EXPECT_GE(allowed, 10);
  EXPECT_LE(allowed, 13);
}

}  // namespace
}  // namespace mote::base::log
