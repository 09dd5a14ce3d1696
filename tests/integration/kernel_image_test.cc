// Kernel images that are cut short, contradictory or hostile: refused by name, or run to some end,
// but never the end of the monitor by a crash.

#include <elf.h>

#include <csignal>
#include <cstring>
#include <random>

#include "tests/integration/guest_test.h"

namespace mote::integration {
namespace {

class KernelImageTest : public GuestTest {
 protected:
  void SetUp() override {
    GuestTest::SetUp();
    image_ = read_file(guest_image("hello"));
    ASSERT_GT(image_.size(), sizeof(Elf64_Ehdr));
    std::memcpy(&header_, image_.data(), sizeof(header_));
  }

  /// The image with its nth program header changed.
  template <typename Change>
  std::string with_segment(size_t index, Change change) const {
    std::string image = image_;
    Elf64_Phdr segment{};
    char* const at = image.data() + header_.e_phoff + index * sizeof(segment);
    std::memcpy(&segment, at, sizeof(segment));
    change(segment);
    std::memcpy(at, &segment, sizeof(segment));
    return image;
  }
  template <typename Change>
  std::string with_header(Change change) const {
    std::string image = image_;
    Elf64_Ehdr header = header_;
    change(header);
    std::memcpy(image.data(), &header, sizeof(header));
    return image;
  }

  /// InstanceStart is refused by naming field and file, and another kernel boots afterwards.
  void expect_refused(const std::string& image) {
    const std::string path = folder_.write("kernel", image);
    mote_ = MonitorProcess::with_api(folder_);
    const Response named = mote_->request("PUT", "/boot-source", boot_source_json(path, ""));
    const Response refused =
        named.status == 400 ? named : mote_->request("PUT", "/actions", kInstanceStart);
    ASSERT_TRUE(is_status(refused, 400));
    EXPECT_NE(refused.body.find("kernel_image_path"), std::string::npos) << refused.body;
    EXPECT_NE(refused.body.find(path), std::string::npos) << refused.body;
    ASSERT_TRUE(is_status(
        mote_->request("PUT", "/boot-source", boot_source_json(guest_image("hello"), "")), 204));
    ASSERT_NO_FATAL_FAILURE(start());
    ASSERT_NO_FATAL_FAILURE(expect_end());
    EXPECT_EQ(mote_->console(), "hello from a tiny guest\n");
  }

  std::string image_;
  Elf64_Ehdr header_{};
};

TEST_F(KernelImageTest, WhatIsNoKernelIsRefused) {
  for (const std::string& content :
       {std::string(), std::string("x"), std::string(4096, '\0'),
        std::string("\x7f"
                    "ELF"),
        std::string(100'000, 'k'), std::string("MZ") + std::string(8192, '\0')}) {
    SCOPED_TRACE(content.size());
    ASSERT_NO_FATAL_FAILURE(expect_refused(content));
  }
}

TEST_F(KernelImageTest, TruncatedImagesAreRefused) {
  for (const size_t size : {size_t{4}, size_t{16}, size_t{63}, size_t{64}, size_t{100},
                            size_t{4096}, size_t{8191}, size_t{8192}, size_t{20'000}}) {
    SCOPED_TRACE(size);
    ASSERT_NO_FATAL_FAILURE(expect_refused(image_.substr(0, size)));
  }
}

TEST_F(KernelImageTest, SegmentsThatContradictFileOrMemoryAreRefused) {
  using Segment = Elf64_Phdr;
  const std::string images[] = {
      with_segment(0, [](Segment& s) { s.p_filesz = UINT64_MAX; }),
      with_segment(0, [](Segment& s) { s.p_offset = UINT64_MAX - 10; }),
      with_segment(0, [](Segment& s) { s.p_memsz = s.p_filesz - 1; }),
      with_segment(1, [](Segment& s) { s.p_memsz = UINT64_MAX; }),
      with_segment(1, [](Segment& s) { s.p_memsz = uint64_t{1} << 40; }),
      with_segment(1, [](Segment& s) { s.p_paddr = UINT64_MAX - 4096; }),
      with_segment(1, [](Segment& s) { s.p_paddr = 0x1000; }),
      with_segment(1, [](Segment& s) { s.p_paddr = 128 * 1024 * 1024 - 4096; }),
      with_segment(1, [](Segment& s) { s.p_paddr = 0x100000; }),
      with_segment(2, [](Segment& s) { s.p_offset = UINT64_MAX - 3; }),
      with_header([](Elf64_Ehdr& h) { h.e_phoff = UINT64_MAX - 7; }),
      with_header([](Elf64_Ehdr& h) { h.e_phnum = UINT16_MAX; }),
      with_header([](Elf64_Ehdr& h) { h.e_phnum = 0; }),
      with_header([](Elf64_Ehdr& h) { h.e_phentsize = 1; }),
      with_header([](Elf64_Ehdr& h) { h.e_machine = EM_AARCH64; }),
      with_header([](Elf64_Ehdr& h) { h.e_ident[EI_CLASS] = ELFCLASS32; }),
      with_header([](Elf64_Ehdr& h) { h.e_type = ET_REL; }),
  };
  for (size_t i = 0; i < std::size(images); ++i) {
    SCOPED_TRACE(i);
    ASSERT_NO_FATAL_FAILURE(expect_refused(images[i]));
  }
}

TEST_F(KernelImageTest, AGuestTooSmallForItsKernelIsTold) {
  mote_ = MonitorProcess::with_api(folder_);
  ASSERT_TRUE(is_status(
      mote_->request("PUT", "/boot-source", boot_source_json(guest_image("hello"), "")), 204));
  ASSERT_TRUE(is_status(mote_->request("PUT", "/machine-config", machine_json(1, 1)), 204));
  const Response refused = mote_->request("PUT", "/actions", kInstanceStart);
  ASSERT_TRUE(is_status(refused, 400));
  EXPECT_NE(refused.body.find("memory"), std::string::npos) << refused.body;
}

TEST_F(KernelImageTest, ACommandLineThatDoesNotFitIsRefused) {
  for (const std::string& arguments : {std::string(2048, 'x'), std::string("a\\nb")}) {
    mote_ = MonitorProcess::with_api(folder_);
    const Response named =
        mote_->request("PUT", "/boot-source", boot_source_json(guest_image("hello"), arguments));
    const Response refused =
        named.status == 400 ? named : mote_->request("PUT", "/actions", kInstanceStart);
    ASSERT_TRUE(is_status(refused, 400));
    EXPECT_NE(refused.body.find("boot_args"), std::string::npos) << refused.body;
  }
}

TEST_F(KernelImageTest, AnInitrdThatDoesNotFitIsRefused) {
  const std::string initrd = folder_.path("initrd");
  folder_.write("initrd", "x");
  ASSERT_EQ(::truncate(initrd.c_str(), 200 * 1024 * 1024), 0);
  mote_ = MonitorProcess::with_api(folder_);
  ASSERT_TRUE(is_status(mote_->request("PUT", "/boot-source",
                                       R"({"kernel_image_path":")" + guest_image("hello") +
                                           R"(","initrd_path":")" + initrd + R"("})"),
                        204));
  const Response refused = mote_->request("PUT", "/actions", kInstanceStart);
  ASSERT_TRUE(is_status(refused, 400));
  EXPECT_NE(refused.body.find("initrd_path"), std::string::npos) << refused.body;
}

TEST_F(KernelImageTest, DamagedImagesEndInAnOrderlyWay) {
  // Damage to headers is refused; damaged code runs into its own fault, or nowhere.
  std::mt19937 random(20260131);
  for (int i = 0; i < 150; ++i) {
    std::string image = image_;
    const size_t range = i % 2 == 0 ? 256 : image.size();
    for (unsigned changes = 1 + random() % 8; changes > 0; --changes) {
      image[random() % range] = static_cast<char>(random());
    }
    const std::string path = folder_.write("kernel", image);
    const std::string config =
        folder_.write("config.json", R"({"boot-source":)" + boot_source_json(path, "") + "}");
    MonitorProcess mote(folder_, {"--no-api", "--config-file", config});
    auto ending = mote.wait(std::chrono::seconds(1));
    if (!ending) {
      mote.signal(SIGTERM);
      ending = mote.wait();
    }
    ASSERT_TRUE(ending) << i;
    const bool orderly =
        ending->exit_code == 0 || ending->exit_code == 2 || ending->exit_code == 152;
    EXPECT_TRUE(orderly) << "image " << i << ": " << *ending << '\n' << mote.log();
  }
}

}  // namespace
}  // namespace mote::integration
