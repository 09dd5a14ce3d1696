// Guest metadata: what the API writes, a guest reads, and a clone reads its own.

#include <csignal>

#include "tests/integration/guest_test.h"
#include "tests/integration/network_namespace.h"

namespace mote::integration {
namespace {

constexpr const char* kTap = "mote0";

class MmdsTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    if (IsSkipped()) return;
    if (const auto reason = enter_network_namespace()) GTEST_SKIP() << *reason;
    if (const auto reason = create_tap(kTap)) GTEST_SKIP() << *reason;
  }
  void TearDown() override {
    mote_.reset();
    remove_tap(kTap);
  }
  void configure(const std::string& arguments, const std::string& mmds) {
    ASSERT_NO_FATAL_FAILURE(prepare("mmds", arguments));
    ASSERT_TRUE(is_status(
        mote_->request("PUT", "/network-interfaces/eth0", network_json("eth0", kTap)), 204));
    ASSERT_TRUE(is_status(mote_->request("PUT", "/mmds/config", mmds), 204));
  }
  void put(const std::string& verb, const std::string& content) {
    ASSERT_TRUE(is_status(mote_->request(verb, "/mmds", content), 204));
  }
  void expect_console(const std::string& text) {
    ASSERT_TRUE(mote_->wait_for_console(text)) << mote_->console() << mote_->log();
  }
};

TEST_F(MmdsTest, AGuestReadsWhatTheApiWrites) {
  ASSERT_NO_FATAL_FAILURE(configure("path=/latest/name", R"({"network_interfaces":["eth0"]})"));
  EXPECT_EQ(mote_->request("GET", "/mmds").body, "{}");
  EXPECT_TRUE(is_status(mote_->request("PATCH", "/mmds", R"({"latest":{}})"), 400));
  ASSERT_NO_FATAL_FAILURE(put("PUT", R"({"latest":{"name":"first"}})"));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_NO_FATAL_FAILURE(expect_console("metadata at 6:1:23:45:67:1\nanswer 200: first\n"));
  ASSERT_NO_FATAL_FAILURE(put("PATCH", R"({"latest":{"name":{"a":1,"b":{}}}})"));
  ASSERT_NO_FATAL_FAILURE(expect_console("answer 200: a\nb/\n"));
  ASSERT_NO_FATAL_FAILURE(put("PATCH", R"({"latest":{"name":null}})"));
  ASSERT_NO_FATAL_FAILURE(expect_console("answer 404: Resource not found: /latest/name.\n"));
  EXPECT_EQ(mote_->request("GET", "/mmds").body, R"({"latest":{}})");
  const std::string large(8000, 'x');
  ASSERT_NO_FATAL_FAILURE(put("PUT", R"({"latest":{"name":")" + large + R"("}})"));
  ASSERT_NO_FATAL_FAILURE(expect_console("answer 200: " + large + "\n"));
  ASSERT_NO_FATAL_FAILURE(put("PUT", R"({"latest":{"name":"quit"}})"));
  ASSERT_NO_FATAL_FAILURE(expect_end());
}

TEST_F(MmdsTest, AGuestOfV2FetchesATokenFirst) {
  ASSERT_NO_FATAL_FAILURE(
      configure("path=/name v2=1", R"({"version":"V2","network_interfaces":["eth0"]})"));
  ASSERT_NO_FATAL_FAILURE(put("PUT", R"({"name":"secret"})"));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_NO_FATAL_FAILURE(expect_console("answer 200: secret\n"));
  ASSERT_NO_FATAL_FAILURE(put("PUT", R"({"name":"quit"})"));
  ASSERT_NO_FATAL_FAILURE(expect_end());
}

TEST_F(MmdsTest, AGuestOfV2WithoutATokenIsRefused) {
  ASSERT_NO_FATAL_FAILURE(
      configure("path=/name", R"({"version":"V2","network_interfaces":["eth0"]})"));
  ASSERT_NO_FATAL_FAILURE(put("PUT", R"({"name":"secret"})"));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_NO_FATAL_FAILURE(expect_console("answer 401: No MMDS token provided."));
}

TEST_F(MmdsTest, ACloneKeepsTheAddressAndHasMetadataOfItsOwn) {
  ASSERT_NO_FATAL_FAILURE(configure("path=/name", R"({"network_interfaces":["eth0"]})"));
  ASSERT_NO_FATAL_FAILURE(put("PUT", R"({"name":"template"})"));
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_NO_FATAL_FAILURE(expect_console("answer 200: template\n"));
  ASSERT_TRUE(is_status(mote_->request("PATCH", "/vm", R"({"state":"Paused"})"), 204));
  const std::string files =
      R"("snapshot_path":")" + folder_.path("s") + R"(","mem_file_path":")" + folder_.path("m");
  ASSERT_TRUE(is_status(mote_->request("PUT", "/snapshot/create", "{" + files + "\"}"), 204));
  mote_->signal(SIGTERM);
  ASSERT_NO_FATAL_FAILURE(expect_end());

  mote_ = MonitorProcess::with_api(folder_, {});
  const std::string load = "{" + files + R"(","resume_vm":true})";
  ASSERT_TRUE(is_status(mote_->request("PUT", "/snapshot/load", load), 204));
  const std::string config = mote_->request("GET", "/vm/config").body;
  EXPECT_NE(config.find(R"("mmds-config":{"version":"V1")"), std::string::npos) << config;
  ASSERT_NO_FATAL_FAILURE(expect_console("answer 404: "));
  EXPECT_EQ(mote_->console().find("template"), std::string::npos) << "another VM's metadata";
  ASSERT_NO_FATAL_FAILURE(put("PUT", R"({"name":"clone-7"})"));
  ASSERT_NO_FATAL_FAILURE(expect_console("answer 200: clone-7\n"));
  ASSERT_NO_FATAL_FAILURE(put("PUT", R"({"name":"quit"})"));
  ASSERT_NO_FATAL_FAILURE(expect_end());
}

TEST_F(MmdsTest, TheCommandLineGivesMetadataAndItsLimit) {
  const std::string file = folder_.write("metadata.json", R"({"name":"from a file"})");
  mote_ = MonitorProcess::with_api(folder_, {"--metadata", file, "--mmds-size-limit", "30"});
  EXPECT_EQ(mote_->request("GET", "/mmds").body, R"({"name":"from a file"})");
  const Response refused = mote_->request("PUT", "/mmds", R"({"name":"longer than thirty bytes"})");
  ASSERT_TRUE(is_status(refused, 400));
  EXPECT_NE(refused.body.find("of at most 30"), std::string::npos) << refused.body;
  EXPECT_EQ(mote_->request("GET", "/mmds").body, R"({"name":"from a file"})");

  const std::string list = folder_.write("list.json", "[]");
  MonitorProcess wrong(folder_, {"--no-api", "--config-file", file, "--metadata", list}, "wrong");
  const auto ending = wrong.wait();
  ASSERT_TRUE(ending);
  EXPECT_EQ(*ending, (Ending{152, 0}));
  EXPECT_NE(wrong.log().find("--metadata: the metadata: must be a JSON object"), std::string::npos)
      << wrong.log();
}

TEST_F(MmdsTest, TheConfigurationNamesInterfacesThatAreThere) {
  ASSERT_NO_FATAL_FAILURE(prepare("mmds", "path=/name"));
  for (const char* const ids : {"[]", R"(["eth0"])"}) {
    const Response refused =
        mote_->request("PUT", "/mmds/config", R"({"network_interfaces":)" + std::string(ids) + "}");
    ASSERT_TRUE(is_status(refused, 400));
    EXPECT_NE(refused.body.find("network_interfaces: "), std::string::npos) << refused.body;
  }
}

}  // namespace
}  // namespace mote::integration
