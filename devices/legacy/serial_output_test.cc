#include "devices/legacy/serial_output.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <vector>

namespace mote::legacy {
namespace {

class SerialOutputTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = testing::TempDir() + "/serial-XXXXXX";
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    path_ = folder + "/out";
  }
  void TearDown() override {
    ::unlink(path_.c_str());
    ::rmdir(path_.substr(0, path_.rfind('/')).c_str());
  }

  std::string path_;
};

std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST_F(SerialOutputTest, AppendsToAFile) {
  for (const char* const text : {"one\n", "two\n"}) {
    auto output = FdSerialOutput::open(path_);
    ASSERT_TRUE(output) << output.error().message();
    EXPECT_EQ((*output)->write(bytes(text)), 4U);
  }
  std::string content(16, '\0');
  const base::UniqueFd file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  const ssize_t got = ::read(file.get(), content.data(), content.size());
  ASSERT_GE(got, 0);
  content.resize(static_cast<size_t>(got));
  EXPECT_EQ(content, "one\ntwo\n");
}

TEST_F(SerialOutputTest, AFifoNobodyReadsCostsBytesAndNoTime) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  auto output = FdSerialOutput::open(path_);
  ASSERT_TRUE(output) << output.error().message();
  const std::vector<std::byte> much(1 << 20, std::byte{'x'});
  const size_t taken = (*output)->write(much);
  EXPECT_GT(taken, 0U);
  EXPECT_LT(taken, much.size());
  EXPECT_EQ((*output)->write(much), 0U);
}

TEST_F(SerialOutputTest, ABlockingPipeThatIsFullDoesNotBlockUs) {
  int ends[2] = {-1, -1};
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);  // Blocking, as an inherited standard output is.
  const base::UniqueFd reader(ends[0]);
  FdSerialOutput output{base::UniqueFd(ends[1])};
  const std::vector<std::byte> much(1 << 20, std::byte{'x'});
  EXPECT_LT(output.write(much), much.size());
}

TEST_F(SerialOutputTest, AReaderThatWentAwayIsNoError) {
  int ends[2] = {-1, -1};
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  ::close(ends[0]);
  auto* const before = ::signal(SIGPIPE, SIG_IGN);
  FdSerialOutput output{base::UniqueFd(ends[1])};
  EXPECT_EQ(output.write(bytes("lost")), 0U);
  ::signal(SIGPIPE, before);
}

TEST_F(SerialOutputTest, APathThatCannotBeOpenedIsNamed) {
  const auto output = FdSerialOutput::open("/nonexistent/folder/console");
  ASSERT_FALSE(output);
  EXPECT_NE(output.error().message().find("serial_out_path"), std::string::npos);
  EXPECT_NE(output.error().message().find("/nonexistent/folder/console"), std::string::npos);
}

}  // namespace
}  // namespace mote::legacy
