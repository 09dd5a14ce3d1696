#include "monitor/boot/boot_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <array>
#include <filesystem>
#include <fstream>

namespace mote::boot {
namespace {

class BootFile : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/mote-boot-file-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void expect_refused(const std::string& path, std::string_view words) {
    const auto file = open_boot_file(path, "initrd_path");
    ASSERT_FALSE(file) << path;
    const std::string message = file.error().message();
    EXPECT_TRUE(message.starts_with("initrd_path: " + path)) << message;
    EXPECT_NE(message.find(words), std::string::npos) << message;
  }

  std::string directory_;
};

TEST_F(BootFile, ReadsARegularFileExactly) {
  const std::string path = directory_ + "/file";
  std::ofstream(path) << "0123456789";
  const auto file = open_boot_file(path, "initrd_path");
  ASSERT_TRUE(file) << file.error().message();
  EXPECT_EQ(file_size_bytes(file->get()), 10U);
  std::array<std::byte, 4> bytes{};
  ASSERT_TRUE(read_exactly(file->get(), 6, bytes));
  EXPECT_EQ(bytes[3], std::byte{'9'});
  const auto too_far = read_exactly(file->get(), 7, bytes);
  ASSERT_FALSE(too_far);
  EXPECT_EQ(too_far.error().code, base::ErrorCode::kCorrupt);
}

TEST_F(BootFile, RefusesWhatIsNoRegularFileWithoutHanging) {
  const std::string fifo = directory_ + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  expect_refused(fifo, "not a regular file");
  expect_refused(directory_, "not a regular file");
  expect_refused("/dev/zero", "not a regular file");
  expect_refused(directory_ + "/none", "No such file");
  const std::string empty = directory_ + "/empty";
  std::ofstream{empty};
  expect_refused(empty, "is empty");
}

}  // namespace
}  // namespace mote::boot
