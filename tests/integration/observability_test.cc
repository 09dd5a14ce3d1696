// Metrics, logs and the guest's console: what is told, where it goes, and that a reader who stalls
// or goes away holds nothing up.

#include <fcntl.h>
#include <sys/stat.h>

#include <boost/json.hpp>
#include <csignal>
#include <regex>
#include <sstream>
#include <thread>

#include "tests/integration/guest_test.h"

namespace mote::integration {
namespace {

using namespace std::chrono_literals;
namespace json = boost::json;

constexpr const char* kFlushMetrics = R"({"action_type":"FlushMetrics"})";

class ObservabilityTest : public GuestTest {
 protected:
  std::string make_fifo(const std::string& name) {
    EXPECT_EQ(::mkfifo(folder_.path(name).c_str(), 0600), 0);
    return folder_.path(name);
  }
  Response set_metrics(const std::string& path) {
    return mote_->request("PUT", "/metrics", R"({"metrics_path":")" + path + R"("})");
  }
  static std::vector<json::object> read_metrics(const std::string& path) {
    std::vector<json::object> lines;
    std::istringstream text(read_file(path));
    for (std::string line; std::getline(text, line);) {
      lines.push_back(json::parse(line).as_object());
    }
    return lines;
  }
  /// The number at "section.name"; fails the test when it is missing.
  static uint64_t number(const json::object& line, const std::string& section,
                         const std::string& name) {
    const json::value* const object = line.if_contains(section);
    const json::value* const value =
        object != nullptr && object->is_object() ? object->get_object().if_contains(name) : nullptr;
    EXPECT_NE(value, nullptr) << section << '.' << name << " is missing";
    return value != nullptr ? value->to_number<uint64_t>() : 0;
  }
};

TEST_F(ObservabilityTest, MetricsCountWhatTheGuestDid) {
  const std::string disk = folder_.write("disk", disk_pattern(64));
  const std::string metrics = folder_.path("metrics");
  ASSERT_NO_FATAL_FAILURE(prepare("blk", "mode=read count=10"));
  ASSERT_TRUE(is_status(set_metrics(metrics), 204));
  ASSERT_TRUE(is_status(mote_->request("PUT", "/drives/disk", drive_json("disk", disk)), 204));
  ASSERT_TRUE(is_status(mote_->request("PUT", "/actions", kFlushMetrics), 204));
  ASSERT_EQ(mote_->request("PUT", "/machine-config", "{}").status, 400U);
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_NO_FATAL_FAILURE(expect_end());

  const auto lines = read_metrics(metrics);
  ASSERT_GE(lines.size(), 2U);
  const json::object& before = lines.front();
  const json::object& after = lines.back();
  EXPECT_GT(before.at("utc_timestamp_ms").to_number<uint64_t>(), 1'700'000'000'000U);
  EXPECT_EQ(number(before, "put_api_requests", "drive_count"), 1U);
  EXPECT_EQ(number(before, "put_api_requests", "boot_source_count"), 1U);
  EXPECT_EQ(number(before, "block_disk", "read_count"), 0U);
  EXPECT_GT(number(before, "api_server", "process_startup_time_us"), 0U);
  EXPECT_EQ(number(after, "put_api_requests", "drive_count"), 0U) << "counters tell differences";
  EXPECT_EQ(number(after, "block_disk", "read_count"), 10U);
  EXPECT_EQ(number(after, "block_disk", "read_bytes"), 40960U);
  EXPECT_EQ(number(after, "uart", "write_count"), mote_->console().size());
  EXPECT_GE(number(after, "vcpu", "exit_io_out"), mote_->console().size());
  EXPECT_GT(number(after, "vcpu", "exit_mmio_write"), 10U);
  EXPECT_EQ(number(after, "vcpu", "failures"), 0U);
  const uint64_t started = number(after, "boot", "instance_start_us");
  EXPECT_GE(number(after, "boot", "vcpu_run_us"), started);
  EXPECT_GE(started, number(after, "boot", "api_ready_us"));
}

TEST_F(ObservabilityTest, TheGuestsInitIsABootPhase) {
  const std::string metrics = folder_.path("metrics");
  run_to_end("boot_timer", "", R"(,"metrics":{"metrics_path":")" + metrics + R"("})");
  const auto lines = read_metrics(metrics);
  ASSERT_FALSE(lines.empty());
  EXPECT_GT(number(lines.back(), "boot", "guest_init_us"),
            number(lines.back(), "boot", "vcpu_run_us"));
}

TEST_F(ObservabilityTest, AMetricsFifoThatNobodyReadsHoldsNothingUp) {
  ASSERT_NO_FATAL_FAILURE(prepare("spin", ""));
  ASSERT_TRUE(is_status(set_metrics(make_fifo("metrics")), 204));
  ASSERT_NO_FATAL_FAILURE(start());
  unsigned refused = 0;
  for (int i = 0; i < 200; ++i) {
    const Response answer = mote_->request("PUT", "/actions", kFlushMetrics);
    ASSERT_TRUE(answer.status == 204 || answer.status == 400) << answer.status;
    refused += answer.status == 400 ? 1 : 0;
  }
  EXPECT_GT(refused, 0U) << "200 lines cannot have fitted into a pipe";
  mote_->signal(SIGTERM);
  ASSERT_NO_FATAL_FAILURE(expect_end());
}

TEST_F(ObservabilityTest, LogLinesCarryTimeIdLevelAndOrigin) {
  mote_ = MonitorProcess::with_api(folder_, {"--id", "logged-1"});
  const std::string log = folder_.path("log");
  ASSERT_TRUE(
      is_status(mote_->request("PUT", "/logger",
                               R"({"log_path":")" + log +
                                   R"(","level":"Info","show_level":true,"show_log_origin":true})"),
                204));
  EXPECT_TRUE(is_status(mote_->request("PUT", "/actions", kInstanceStart), 400));
  const std::regex line(
      R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9} \[logged-1:[^:\]]+:ERROR:[^:\]]+:\d+\] .*kernel_image_path.*)",
      std::regex::icase);
  std::istringstream text(read_file(log));
  bool found = false;
  for (std::string each; std::getline(text, each);) found |= std::regex_match(each, line);
  EXPECT_TRUE(found) << read_file(log);
}

TEST_F(ObservabilityTest, TheLevelDecidesWhatIsLogged) {
  for (const bool off : {false, true}) {
    const auto mote = MonitorProcess::with_api(folder_, {"--level", off ? "Off" : "Info"});
    EXPECT_TRUE(is_status(mote->request("PUT", "/actions", kInstanceStart), 400));
    EXPECT_EQ(mote->log().empty(), off) << mote->log();
  }
}

TEST_F(ObservabilityTest, ALogFifoIsFedAndNeverWaitedFor) {
  const std::string fifo = make_fifo("log");
  mote_ = MonitorProcess::with_api(folder_, {"--log-path", fifo});
  const base::UniqueFd reader(::open(fifo.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  std::string chunk(4096, '\0');
  const ssize_t got = ::read(reader.get(), chunk.data(), chunk.size());
  ASSERT_GT(got, 0);
  EXPECT_NE(chunk.find("ready"), std::string::npos) << chunk;
  // Nobody reads any more: far more lines than a pipe holds.
  for (int i = 0; i < 1500; ++i) {
    ASSERT_EQ(mote_->request("PUT", "/actions", kInstanceStart).status, 400U);
  }
  mote_->signal(SIGTERM);
  ASSERT_NO_FATAL_FAILURE(expect_end());
}

TEST_F(ObservabilityTest, TheConsoleGoesWhereItIsSent) {
  const std::string serial = folder_.path("serial");
  EXPECT_EQ(run_to_end("hello", "", R"(,"serial":{"serial_out_path":")" + serial + R"("})"),
            (Ending{0, 0}));
  EXPECT_EQ(read_file(serial), "hello from a tiny guest\n");
  EXPECT_EQ(mote_->console(), "");
}

TEST_F(ObservabilityTest, AConsolePathThatCannotBeOpenedIsNamed) {
  EXPECT_EQ(
      run_to_end("hello", "", R"(,"serial":{"serial_out_path":"/nonexistent/console"})").exit_code,
      152);
  EXPECT_NE(mote_->log().find("serial_out_path"), std::string::npos) << mote_->log();
}

TEST_F(ObservabilityTest, AConsoleFifoThatNobodyReadsDoesNotStopTheGuest) {
  const std::string serial = make_fifo("serial");
  // As small as a pipe can be, so that the guest need not print for long.
  const base::UniqueFd fifo(::open(serial.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  ASSERT_GT(::fcntl(fifo.get(), F_SETPIPE_SZ, 4096), 0);
  ASSERT_NO_FATAL_FAILURE(prepare("hello", "repeat=400"));
  ASSERT_TRUE(is_status(
      mote_->request("PUT", "/serial", R"({"serial_out_path":")" + serial + R"("})"), 204));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_NO_FATAL_FAILURE(expect_end());
  std::string shown(8192, '\0');
  EXPECT_LE(::read(fifo.get(), shown.data(), shown.size()), 4096);
  EXPECT_TRUE(shown.starts_with("hello from a tiny guest\n"));
}

TEST_F(ObservabilityTest, ConsoleOutputOverItsLimitIsDropped) {
  const std::string serial = folder_.path("serial");
  const std::string metrics = folder_.path("metrics");
  EXPECT_EQ(run_to_end("hello", "repeat=100",
                       R"(,"serial":{"serial_out_path":")" + serial +
                           R"(","rate_limiter":{"size":240,"refill_time":3600000}})" +
                           R"(,"metrics":{"metrics_path":")" + metrics + R"("})"),
            (Ending{0, 0}));
  EXPECT_EQ(read_file(serial).size(), 240U);
  const auto lines = read_metrics(metrics);
  ASSERT_FALSE(lines.empty());
  EXPECT_GT(number(lines.back(), "uart", "rate_limiter_dropped_bytes"), 2000U);
}

}  // namespace
}  // namespace mote::integration
