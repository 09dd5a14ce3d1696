#include "monitor/seccomp/policy.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

namespace mote::monitor::seccomp {
namespace {

std::string with_loop_rule(const std::string& rule) {
  return R"({"loop":{"default_action":"trap","filter":[)" + rule +
         R"(]},"vcpu":{"default_action":"trap","filter":[{"syscall":"read"}]}})";
}

std::string error_of(const std::string& policy) {
  const auto compiled = compile_policy(policy);
  return compiled ? "compiled" : compiled.error().message();
}

TEST(SeccompPolicy, CompilesTheBuiltInOne) {
  std::ifstream in(SECCOMP_POLICY_FILE);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const auto programs = compile_policy(text);
  ASSERT_TRUE(programs) << programs.error().message();
  EXPECT_GT(programs->loop.size(), programs->vcpu.size());
}

TEST(SeccompPolicy, SaysWhatIsWrong) {
  const std::pair<std::string, const char*> cases[] = {
      {"{", "not JSON"},
      {"[]", "must be an object"},
      {R"({"api":{}})", "\"api\" is no role"},
      {R"({"loop":[]})", "loop: must be an object"},
      {R"({"loop":{"default_action":"explode"}})", "loop: \"explode\" is no action"},
      {R"({"loop":{"default_action":"errno:5000"}})", "is no action"},
      {R"({"loop":{"default_action":"trap"}})", "loop: \"filter\" must be an array"},
      {with_loop_rule("7"), "loop: filter[0]: must be an object"},
      {with_loop_rule("{}"), "\"syscall\" must be a string"},
      {with_loop_rule(R"({"syscall":"fly"})"), "loop: filter[0]: \"fly\" is no system call"},
      {with_loop_rule(R"({"syscall":"read","args":[{"index":6,"op":"eq","value":1}]})"),
       "read: \"index\" must be from 0 to 5"},
      {with_loop_rule(R"({"syscall":"read","args":[{"index":0,"op":"like","value":1}]})"),
       "\"op\" must be eq"},
      {with_loop_rule(R"({"syscall":"ioctl","args":[{"index":1,"op":"eq","value":"KVM_FLY"}]})"),
       "\"KVM_FLY\" is no name known here"},
      {with_loop_rule(R"({"syscall":"ioctl","args":[{"index":1,"op":"in","values":[]}]})"),
       "\"values\" must be an array that is not empty"},
      {with_loop_rule(R"({"syscall":"read","args":[{"index":0,"op":"eq","value":-1}]})"),
       "must be a number from 0"},
      {with_loop_rule(R"({"syscall":"read"})").substr(0, 60), "not JSON"},
  };
  for (const auto& [policy, message] : cases) {
    EXPECT_NE(error_of(policy).find(message), std::string::npos)
        << policy << " gave: " << error_of(policy);
  }
}

}  // namespace
}  // namespace mote::monitor::seccomp
