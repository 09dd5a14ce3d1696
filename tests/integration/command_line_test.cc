// What the shell sees: exit codes and the last words on standard error. docs/cli.md promises both.

#include <pty.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>

#include "base/unique_fd.h"
#include "tests/integration/guest_test.h"

namespace mote::integration {
namespace {

constexpr int kGenericError = 1;
constexpr int kBadConfiguration = 152;
constexpr int kBadArguments = 153;

class CommandLineTest : public testing::Test {
 protected:
  /// Runs `mote` to its end and expects this code and these words on standard error.
  void expect(const std::vector<std::string>& arguments, int exit_code, const std::string& words,
              Host host = Host::kAllowsAll) {
    MonitorProcess mote(folder_, arguments, "mote", host);
    const auto ending = mote.wait(std::chrono::seconds(20));
    ASSERT_TRUE(ending) << "the process goes on: " << testing::PrintToString(arguments);
    EXPECT_EQ(*ending, (Ending{exit_code, 0})) << mote.log();
    EXPECT_NE(mote.log().find(words), std::string::npos)
        << "\"" << words << "\" is not in: " << mote.log();
  }
  void expect_bad_configuration(const std::string& text, const std::string& words) {
    SCOPED_TRACE(text.substr(0, 200));
    const std::string path = folder_.write("config.json", text);
    expect({"--no-api", "--config-file", path}, kBadConfiguration, words);
  }

  TemporaryFolder folder_;
};

TEST_F(CommandLineTest, WrongArgumentsAreNamed) {
  expect({"--bogus"}, kBadArguments, "--bogus");
  expect({"stray"}, kBadArguments, "stray");
  expect({"--api-sock"}, kBadArguments, "--api-sock");
  expect({"--no-api"}, kBadArguments, "--config-file");
  expect({"--id", "a b"}, kBadArguments, "--id");
  expect({"--id", std::string(65, 'x')}, kBadArguments, "--id");
  expect({"--level", "Loud"}, kBadArguments, "--level");
  expect({"--ready-fd", "-1"}, kBadArguments, "--ready-fd");
  expect({"--http-api-max-payload-size", "many"}, kBadArguments, "--http-api-max-payload-size");
  expect({"--start-time-us", "soon"}, kBadArguments, "--start-time-us");
  expect({"--log-path", "/nonexistent/log"}, kBadArguments, "/nonexistent/log");
  expect({"--metrics-path", "/nonexistent/metrics"}, kBadArguments, "/nonexistent/metrics");
}

TEST_F(CommandLineTest, HelpAndVersionAreNoErrors) {
  for (const char* const argument : {"--help", "--version"}) {
    MonitorProcess mote(folder_, {argument});
    EXPECT_EQ(mote.wait(), (Ending{0, 0}));
    EXPECT_NE(mote.console().find(argument[2] == 'h' ? "--api-sock" : "Mote v"), std::string::npos)
        << mote.console();
  }
}

TEST_F(CommandLineTest, ASocketThatCannotBeMadeIsNamed) {
  const std::string missing = folder_.path("missing/api.sock");
  expect({"--api-sock", missing}, kGenericError, missing);
  const std::string too_long = folder_.path(std::string(120, 'x'));
  expect({"--api-sock", too_long}, kGenericError, "--api-sock");
  const std::string taken = folder_.write("taken", "");
  expect({"--api-sock", taken}, kGenericError, taken);
  EXPECT_EQ(::access(taken.c_str(), F_OK), 0) << "a file that is not ours must stay";
}

TEST_F(CommandLineTest, TheSocketGoesWithTheProcess) {
  const auto mote = MonitorProcess::with_api(folder_);
  EXPECT_EQ(::access(mote->socket_path().c_str(), F_OK), 0);
  mote->signal(SIGTERM);
  EXPECT_EQ(mote->wait(), (Ending{0, 0}));
  EXPECT_NE(::access(mote->socket_path().c_str(), F_OK), 0);
}

TEST_F(CommandLineTest, WrongConfigurationFilesAreNamedByFileOrField) {
  expect({"--no-api", "--config-file", "/nonexistent/config"}, kBadConfiguration,
         "/nonexistent/config");
  expect({"--no-api", "--config-file", "/tmp"}, kBadConfiguration, "/tmp");
  expect_bad_configuration("", "--config-file");
  expect_bad_configuration("[]", "object");
  expect_bad_configuration("{\"boot-source\":", "JSON");
  expect_bad_configuration(std::string(100'000, '['), "--config-file");
  expect_bad_configuration(std::string(2'000'000, ' '), "1 MiB");
  expect_bad_configuration("{}", "kernel_image_path");
  expect_bad_configuration(R"({"boot-source":{}})", "kernel_image_path");
  expect_bad_configuration(R"({"boot-source":{"kernel_image_path":"/nonexistent/kernel"}})",
                           "/nonexistent/kernel");
  expect_bad_configuration(R"({"drives":{}})", "drives");
  expect_bad_configuration(R"({"drives":[{}]})", "drives[0]");
  expect_bad_configuration(R"({"network-interfaces":[{"iface_id":"a"}]})", "host_dev_name");
  expect_bad_configuration(R"({"machine-config":{"vcpu_count":1,"mem_size_mib":"x"}})",
                           "mem_size_mib");
  expect_bad_configuration(R"({"surprise":1})", "surprise");
  expect_bad_configuration(R"({"vsock":{"guest_cid":3,"uds_path":"x"}})", "vsock");
}

TEST_F(CommandLineTest, AHostWithoutKvmIsToldApart) {
  const std::string config = folder_.write("config.json", config_json("hello", ""));
  expect({"--no-api", "--config-file", config, "--kvm-device", "/nonexistent/kvm"},
         kBadConfiguration, "/nonexistent/kvm");
  expect({"--no-api", "--config-file", config, "--kvm-device", "/dev/null"}, kBadConfiguration,
         "/dev/null");
}

TEST_F(CommandLineTest, AHostThatForbidsIoUringIsToldWhichSysctlDoes) {
  expect({"--api-sock", folder_.path("api.sock")}, kGenericError, "kernel.io_uring_disabled",
         Host::kDeniesIoUring);
}

TEST_F(CommandLineTest, ATerminalIsTheGuestsConsole) {
  const auto config = folder_.write("config.json", config_json("hello", ""));
  int terminal = -1;
  const pid_t child = ::forkpty(&terminal, nullptr, nullptr, nullptr);
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::execl(MOTE_BINARY, "mote", "--no-api", "--config-file", config.c_str(), nullptr);
    ::_exit(127);
  }
  const base::UniqueFd owned(terminal);
  std::string shown;
  std::array<char, 512> part{};
  // The last terminal's end is EIO.
  for (ssize_t got = 0; (got = ::read(terminal, part.data(), part.size())) > 0;) {
    shown.append(part.data(), static_cast<size_t>(got));
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << shown;
  EXPECT_NE(shown.find("hello from a tiny guest"), std::string::npos) << shown;
}

TEST_F(CommandLineTest, AForbiddenSystemCallIsNamedAndEndsTheProcess) {
  // The built-in policy, but one that opens no files.
  std::string policy = read_file(SECCOMP_POLICY_FILE);
  const size_t rule = policy.find("\"openat\"");
  ASSERT_NE(rule, std::string::npos);
  policy.replace(rule, 8, "\"open\"");
  const auto mote =
      MonitorProcess::with_api(folder_, {"--seccomp-filter", folder_.write("policy.json", policy)});
  EXPECT_EQ(mote->request("GET", "/").status, 200U);
  (void)mote->request("PUT", "/boot-source", R"({"kernel_image_path":"/bin/true"})");
  const auto ending = mote->wait(std::chrono::seconds(20));
  ASSERT_TRUE(ending);
  EXPECT_EQ(*ending, (Ending{148, 0}));
  EXPECT_NE(mote->log().find("forbidden system call openat (257"), std::string::npos)
      << mote->log();
}

TEST_F(CommandLineTest, AWrongPolicyIsNamedByItsPlace) {
  expect({"--seccomp-filter", folder_.path("missing")}, kBadArguments, "--seccomp-filter");
  const auto policy = folder_.write(
      "policy.json", R"({"loop":{"default_action":"trap","filter":[{"syscall":"fly"}]}})");
  expect({"--seccomp-filter", policy}, kBadArguments, "loop: filter[0]: \"fly\" is no system call");
  expect({"--seccomp-filter", policy, "--no-seccomp"}, kBadArguments, "--no-seccomp");
}

}  // namespace
}  // namespace mote::integration
