#include "jailer/folder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace mote::jailer {
namespace {

class FolderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/mote-folder-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
    base_ = std::move(*open_host_folder(path_.string()));
  }
  void TearDown() override { std::filesystem::remove_all(path_); }

  std::filesystem::path path_;
  base::UniqueFd base_;
  Ledger ledger_;
};

TEST_F(FolderTest, UndoRemovesWhatWasMadeAndNothingElse) {
  std::filesystem::create_directory(path_ / "old");
  ASSERT_TRUE(make_folder(base_.get(), "old", 0755, ledger_));
  const auto place = make_place(base_.get(), "old/new/deep/file", ledger_);
  ASSERT_TRUE(place) << place.error().message();
  EXPECT_EQ(place->name, "file");
  EXPECT_TRUE(std::filesystem::exists(path_ / "old/new/deep"));
  ledger_.undo();
  EXPECT_TRUE(std::filesystem::exists(path_ / "old"));
  EXPECT_FALSE(std::filesystem::exists(path_ / "old/new"));
}

TEST_F(FolderTest, ALinkInTheWayIsRefusedAndNotFollowed) {
  std::filesystem::create_directory(path_ / "elsewhere");
  std::filesystem::create_directory_symlink(path_ / "elsewhere", path_ / "dev");
  const auto folder = make_folder(base_.get(), "dev", 0755, ledger_);
  ASSERT_FALSE(folder);
  EXPECT_NE(folder.error().message().find("symbolic link"), std::string::npos);
  EXPECT_FALSE(make_place(base_.get(), "dev/net/tun", ledger_));
  EXPECT_TRUE(std::filesystem::is_empty(path_ / "elsewhere"));
}

TEST_F(FolderTest, AFileInTheWayIsRefused) {
  std::ofstream(path_ / "run") << "not a folder";
  EXPECT_FALSE(make_folder(base_.get(), "run", 0755, ledger_));
}

TEST_F(FolderTest, AFolderThatOthersMayWriteToIsNotTrusted) {
  EXPECT_TRUE(check_trusted(base_.get(), "base", ::getuid()));
  ASSERT_EQ(::chmod(path_.c_str(), 0777), 0);
  EXPECT_FALSE(check_trusted(base_.get(), "base", ::getuid()));
}

}  // namespace
}  // namespace mote::jailer
