// Guest memory by a page-fault handler (`Uffd`), with a handler that does it.

#include <fcntl.h>
#include <sys/syscall.h>

#include <csignal>
#include <optional>

#include "tests/integration/guest_test.h"
#include "tests/integration/page_server.h"

namespace mote::integration {
namespace {

constexpr uint64_t kGuestPages = 128 * 256;

class UffdTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    if (IsSkipped()) return;
    const base::UniqueFd uffd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC)));
    const base::UniqueFd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
    if (!uffd.valid() && !device.valid()) GTEST_SKIP() << "userfaultfd is not allowed here";
  }
  [[nodiscard]] std::string files(const std::string& name) const {
    return R"("snapshot_path":")" + folder_.path(name + ".state") + R"(","mem_file_path":")" +
           folder_.path(name + ".memory") + "\"";
  }
  void save_template(const std::string& arguments) {
    ASSERT_NO_FATAL_FAILURE(prepare("clone", arguments));
    ASSERT_NO_FATAL_FAILURE(start());
    ASSERT_TRUE(mote_->wait_for_console("ready\n!\n")) << mote_->log();
    ASSERT_NO_FATAL_FAILURE(save("base"));
    mote_.reset();
  }
  void save(const std::string& name) {
    ASSERT_TRUE(is_status(mote_->request("PATCH", "/vm", R"({"state":"Paused"})"), 204));
    ASSERT_TRUE(is_status(mote_->request("PUT", "/snapshot/create", "{" + files(name) + "}"), 204));
  }
  [[nodiscard]] Response load(const std::string& more = R"(,"resume_vm":true)") const {
    return mote_->request("PUT", "/snapshot/load",
                          R"({"snapshot_path":")" + folder_.path("base.state") +
                              R"(","mem_backend":{"backend_type":"Uffd","backend_path":")" +
                              folder_.path("uffd.sock") + "\"}" + more + "}");
  }
  void start_clone() {
    server_.emplace(folder_.path("uffd.sock"), folder_.path("base.memory"));
    mote_ = MonitorProcess::with_api(folder_, {});
    ASSERT_TRUE(is_status(load(), 204)) << server_->complaint();
    ASSERT_TRUE(mote_->wait_for_console("!\n!\n!\n")) << mote_->log() << server_->complaint();
  }
  void expect_no_complaint() {
    EXPECT_EQ(server_->complaint(), "");
    EXPECT_EQ(mote_->console().find("FAILED"), std::string::npos) << mote_->console();
  }

  std::optional<PageServer> server_;
};

TEST_F(UffdTest, ACloneRunsOnPagesOfItsHandlerAndAsksForNoOthers) {
  ASSERT_NO_FATAL_FAILURE(save_template("touch=8 work=64"));
  ASSERT_NO_FATAL_FAILURE(start_clone());
  EXPECT_GT(server_->pages_served(), 64U);
  EXPECT_LT(server_->pages_served(), kGuestPages / 8);
  ASSERT_NO_FATAL_FAILURE(expect_no_complaint());
}

TEST_F(UffdTest, ASnapshotOfSuchACloneHoldsThePagesItNeverTouched) {
  ASSERT_NO_FATAL_FAILURE(save_template("touch=8 work=16"));
  ASSERT_NO_FATAL_FAILURE(start_clone());
  ASSERT_NO_FATAL_FAILURE(save("second"));
  EXPECT_EQ(server_->pages_served(), kGuestPages) << "the rest was asked for, each page once";
  ASSERT_NO_FATAL_FAILURE(expect_no_complaint());
  mote_.reset();
  mote_ = MonitorProcess::with_api(folder_, {});
  ASSERT_TRUE(is_status(
      mote_->request("PUT", "/snapshot/load", "{" + files("second") + R"(,"resume_vm":true})"),
      204));
  // All 8 MiB come round, pages of the first template among them.
  std::string beats;
  for (int i = 0; i < 2048 / 16 + 2; ++i) beats += "!\n";
  EXPECT_TRUE(mote_->wait_for_console(beats)) << mote_->console() << mote_->log();
  EXPECT_EQ(mote_->console().find("FAILED"), std::string::npos) << mote_->console();
}

TEST_F(UffdTest, WithoutAHandlerTheLoadIsRefusedAndMayBeTriedAgain) {
  ASSERT_NO_FATAL_FAILURE(save_template("touch=1"));
  mote_ = MonitorProcess::with_api(folder_, {});
  const Response refused = load();
  ASSERT_TRUE(is_status(refused, 400));
  EXPECT_NE(refused.body.find("mem_backend: cannot connect"), std::string::npos) << refused.body;
  const Response hint = load(R"(,"working_set_path":"/x")");
  ASSERT_TRUE(is_status(hint, 400));
  EXPECT_NE(hint.body.find("working_set_path: "), std::string::npos) << hint.body;
  server_.emplace(folder_.path("uffd.sock"), folder_.path("base.memory"));
  ASSERT_TRUE(is_status(load(), 204)) << server_->complaint();
  EXPECT_TRUE(mote_->wait_for_console("!\n!\n")) << mote_->log();
  ASSERT_NO_FATAL_FAILURE(expect_no_complaint());
}

TEST_F(UffdTest, TheHandlerSurvivesTheEndOfItsClone) {
  ASSERT_NO_FATAL_FAILURE(save_template("touch=8 work=64"));
  ASSERT_NO_FATAL_FAILURE(start_clone());
  mote_->signal(SIGKILL);
  ASSERT_TRUE(mote_->wait());
  EXPECT_EQ(server_->complaint(), "");
}

}  // namespace
}  // namespace mote::integration
