// Every path of the API, given what is no such file: answered at once, in words, and the process
// goes on.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "tests/integration/guest_test.h"

namespace mote::integration {
namespace {

struct Field {
  const char* method;
  const char* path;
  const char* before;  ///< The body up to the path, and behind it.
  const char* after;
};

constexpr Field kReadFields[] = {
    {"PUT", "/boot-source", R"({"kernel_image_path":")", R"("})"},
    {"PUT", "/drives/a", R"({"drive_id":"a","is_root_device":false,"path_on_host":")", R"("})"},
    {"PUT", "/snapshot/load", R"({"snapshot_path":")", R"(","mem_file_path":"/dev/null"})"},
};
constexpr Field kWriteFields[] = {
    {"PUT", "/logger", R"({"log_path":")", R"("})"},
    {"PUT", "/metrics", R"({"metrics_path":")", R"("})"},
};

class HostilePathTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_EQ(::mkfifo(fifo_.c_str(), 0600), 0);
    ASSERT_EQ(::symlink(loop_.c_str(), loop_.c_str()), 0);
    ASSERT_EQ(::symlink(fifo_.c_str(), link_to_fifo_.c_str()), 0);
    std::filesystem::create_directory(directory_);
    mote_ = MonitorProcess::with_api(folder_);
  }

  /// The answer's status, which must come soon.
  unsigned status_of(const Field& field, const std::string& path) {
    const auto begin = std::chrono::steady_clock::now();
    const Response response =
        mote_->request(field.method, field.path, field.before + path + field.after);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5))
        << field.path << " " << path;
    return response.status;
  }
  void expect_alive() { EXPECT_TRUE(is_status(mote_->request("GET", "/"), 200)); }

  std::string fifo_ = folder_.path("fifo");
  std::string link_to_fifo_ = folder_.path("link");
  std::string loop_ = folder_.path("loop");
  std::string directory_ = folder_.path("directory");
};

TEST_F(HostilePathTest, WhatIsReadMustBeAFile) {
  const std::string longest(5000, 'x');
  for (const Field& field : kReadFields) {
    for (const std::string& path :
         {fifo_, link_to_fifo_, loop_, directory_, std::string("/dev/zero"),
          std::string("/dev/tty"), std::string("/dev/ptmx"), std::string("../../../../etc"),
          folder_.path("missing"), mote_->socket_path(), "/" + longest,
          std::string("/proc/self/mem/x"), std::string("\\u0000/etc/passwd")}) {
      EXPECT_EQ(status_of(field, path), 400U) << field.path << " " << path;
    }
    expect_alive();
  }
}

TEST_F(HostilePathTest, WhatIsWrittenIsNeverWaitedFor) {
  for (const Field& field : kWriteFields) {
    for (const std::string& path :
         {loop_, directory_, folder_.path("missing/file"), mote_->socket_path()}) {
      EXPECT_EQ(status_of(field, path), 400U) << field.path << " " << path;
    }
    // A FIFO without a reader is allowed, and a full device too; both lose lines, not time.
    (void)status_of(field, link_to_fifo_);
    expect_alive();
  }
}

TEST_F(HostilePathTest, ASerialPortsFileIsRefusedWhenItIsOpened) {
  ASSERT_TRUE(is_status(
      mote_->request("PUT", "/boot-source", boot_source_json(guest_image("hello"), "")), 204));
  ASSERT_TRUE(is_status(mote_->request("PUT", "/machine-config", machine_json(1, 128)), 204));
  for (const std::string& path : {loop_, directory_, folder_.path("missing/file")}) {
    const std::string body = "{\"serial_out_path\":\"" + path + "\"}";
    ASSERT_TRUE(is_status(mote_->request("PUT", "/serial", body), 204));
    const Response response = mote_->request("PUT", "/actions", kInstanceStart);
    EXPECT_TRUE(is_status(response, 400)) << path;
    EXPECT_NE(response.body.find("serial_out_path"), std::string::npos) << response.body;
  }
  expect_alive();
}

}  // namespace
}  // namespace mote::integration
