#include "monitor/options.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace mote::monitor {
namespace {

std::variant<Options, Leave> parse(std::vector<const char*> arguments) {
  return parse_options(static_cast<int>(arguments.size()), arguments.data());
}

std::string complaint(std::vector<const char*> arguments) {
  testing::internal::CaptureStderr();
  const auto parsed = parse(std::move(arguments));
  std::string text = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(std::holds_alternative<Leave>(parsed)) << "accepted";
  if (const auto* leave = std::get_if<Leave>(&parsed)) {
    EXPECT_EQ(leave->code, ExitCode::kBadArguments);
  }
  return text;
}

TEST(Options, TakesWhatLaunchScriptsPass) {
  const auto options = std::get<Options>(
      parse({"/usr/bin/firecracker", "--api-sock", "/tmp/x.sock", "--id", "vm-1", "--level",
             "Debug", "--show-level", "--start-time-us", "12", "--no-seccomp", "--ready-fd", "7"}));
  EXPECT_EQ(options.program_name, "firecracker");
  EXPECT_EQ(options.api_socket, "/tmp/x.sock");
  EXPECT_EQ(options.id, "vm-1");
  EXPECT_EQ(options.log_level, base::log::Level::kDebug);
  EXPECT_EQ(options.start_time_us, 12U);
  EXPECT_EQ(options.ready_fd, 7);
}

TEST(Options, DefaultSocketFollowsTheName) {
  EXPECT_EQ(std::get<Options>(parse({"mote"})).api_socket, "/run/mote.socket");
  EXPECT_EQ(std::get<Options>(parse({"firecracker"})).api_socket, "/run/firecracker.socket");
}

TEST(Options, VersionBannerFollowsTheName) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(std::get<Leave>(parse({"firecracker", "--version"})).code, ExitCode::kOk);
  EXPECT_TRUE(testing::internal::GetCapturedStdout().starts_with("Firecracker v1."));
  testing::internal::CaptureStdout();
  EXPECT_EQ(std::get<Leave>(parse({"mote", "--version"})).code, ExitCode::kOk);
  EXPECT_TRUE(testing::internal::GetCapturedStdout().starts_with("Mote v"));
}

TEST(Options, ErrorsNameTheArgument) {
  EXPECT_NE(complaint({"mote", "--nonsense"}).find("--nonsense"), std::string::npos);
  EXPECT_NE(complaint({"mote", "--id", "a/b"}).find("--id"), std::string::npos);
  EXPECT_NE(complaint({"mote", "--level", "loud"}).find("loud"), std::string::npos);
  EXPECT_NE(complaint({"mote", "--no-api"}).find("--config-file"), std::string::npos);
  EXPECT_NE(complaint({"mote", "--ready-fd", "-3"}).find("ready-fd"), std::string::npos);
  EXPECT_NE(complaint({"mote", "--start-time-us", "soon"}).find("start-time-us"),
            std::string::npos);
}

}  // namespace
}  // namespace mote::monitor
