#include "monitor/boot/bzimage.h"

#include <asm/bootparam.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "memory/layout.h"
#include "monitor/boot/kernel_image.h"
#include "monitor/boot/testing/image_builder.h"

namespace mote::boot {
namespace {

using memory::Gpa;
using memory::GuestMemory;
using testing::Bytes;
using testing::BzImage;
using testing::compress_payload;
using testing::pattern;
namespace layout = memory::layout;

constexpr uint64_t kBase = 0x200000;
constexpr size_t kHeaderOffset = 0x1f1;

GuestMemory make_memory() {
  auto memory = GuestMemory::create(32 * layout::kMib, memory::HugePages::kNone);
  EXPECT_TRUE(memory) << memory.error().message();
  return std::move(*memory);
}

Bytes make_vmlinux() {
  testing::ElfImage image;
  image.entry = kBase;
  image.pvh_entry = kBase + 0x850;
  image.segments = {{.physical_address = kBase, .content = pattern(300'000, 1)}};
  return build_elf(image);
}

BzImage make_image(Compression compression = Compression::kZstd) {
  return {.payload = compress_payload(compression, make_vmlinux())};
}

base::Result<LoadedKernel> load(GuestMemory& memory, const Bytes& file,
                                const KernelCacheOptions& cache = {}) {
  const auto fd = testing::make_file(file);
  return load_kernel(memory, fd.get(), "/boot/vmlinuz", cache);
}

void expect_loaded(const GuestMemory& memory, const base::Result<LoadedKernel>& kernel) {
  ASSERT_TRUE(kernel) << kernel.error().message();
  EXPECT_EQ(kernel->entry.protocol, BootProtocol::kPvh);
  EXPECT_EQ(kernel->entry.address, Gpa{kBase + 0x850});
  Bytes bytes(300'000);
  ASSERT_TRUE(memory.read(Gpa{kBase}, bytes));
  EXPECT_EQ(bytes, pattern(300'000, 1));
}

void expect_refused(const Bytes& file, std::string_view words) {
  GuestMemory memory = make_memory();
  const auto kernel = load(memory, file);
  ASSERT_FALSE(kernel) << "accepted, but expected: " << words;
  const std::string message = kernel.error().message();
  EXPECT_NE(message.find("kernel_image_path: /boot/vmlinuz"), std::string::npos) << message;
  EXPECT_NE(message.find(words), std::string::npos) << message;
}

setup_header header_of(const Bytes& file) {
  setup_header header;
  std::memcpy(&header, file.data() + kHeaderOffset, sizeof(header));
  return header;
}
template <typename Change>
Bytes with_header(Bytes file, Change change) {
  setup_header header = header_of(file);
  change(header);
  std::memcpy(file.data() + kHeaderOffset, &header, sizeof(header));
  return file;
}

TEST(BzImage, UnpacksEveryCompressionDistributionsUse) {
  for (const auto compression :
       {Compression::kGzip, Compression::kXz, Compression::kLz4, Compression::kZstd}) {
    SCOPED_TRACE(compression_name(compression));
    GuestMemory memory = make_memory();
    const auto kernel = load(memory, build_bzimage(make_image(compression)));
    expect_loaded(memory, kernel);
    EXPECT_EQ(kernel->setup_header.size(), sizeof(setup_header));
  }
}

TEST(BzImage, BootsItselfWhereThePayloadIsUnknown) {
  BzImage image = make_image();
  image.payload = pattern(5000, 9);
  image.preferred_address = 0x400000;
  image.init_size = 0x80000;
  const Bytes file = build_bzimage(image);
  GuestMemory memory = make_memory();
  const auto kernel = load(memory, file);
  ASSERT_TRUE(kernel) << kernel.error().message();
  EXPECT_EQ(kernel->entry.protocol, BootProtocol::kLinux64);
  EXPECT_EQ(kernel->entry.address, Gpa{0x400200});
  EXPECT_EQ(kernel->end, 0x480000U);
  const Bytes code(file.begin() + 3 * 512, file.end());
  Bytes placed(code.size());
  ASSERT_TRUE(memory.read(Gpa{0x400000}, placed));
  EXPECT_EQ(placed, code);
}

TEST(BzImage, BootsItselfWhereThePayloadIsNoKernel) {
  for (const Bytes& content : {pattern(70'000, 3), Bytes(4096)}) {
    BzImage image;
    image.payload = compress_payload(Compression::kGzip, content);
    GuestMemory memory = make_memory();
    const auto kernel = load(memory, build_bzimage(image));
    ASSERT_TRUE(kernel) << kernel.error().message();
    EXPECT_EQ(kernel->entry.address, Gpa{0x1000200});
    image.load_flags_64 = 0;
    expect_refused(build_bzimage(image), "ELF");
  }
}

TEST(BzImage, SelfBootingImagesMustFit) {
  BzImage image;
  image.payload = pattern(5000, 9);
  image.preferred_address = 0x8000;
  expect_refused(build_bzimage(image), "from 1 MiB");
  image.preferred_address = UINT64_MAX - 10;
  expect_refused(build_bzimage(image), "from 1 MiB");
  // Shorter than the way to its entry (found by the fuzzer).
  image.preferred_address = 0x400000;
  image.init_size = 0;
  Bytes cut = with_header(build_bzimage(image), [](auto& h) {
    h.payload_offset = 0;
    h.payload_length = 8;
  });
  cut.resize(3 * 512 + 0x200);
  expect_refused(cut, "before its 64-bit entry");
  image.preferred_address = 31 * layout::kMib;
  image.init_size = 2 * layout::kMib;
  expect_refused(build_bzimage(image), "from 1 MiB");
}

TEST(BzImage, NamesAnUnsupportedCompression) {
  BzImage image;
  image.load_flags_64 = 0;
  for (const auto& [magic, name] :
       {std::pair{"BZh91AY&", "bzip2"}, {"\x89LZO\0\r\n\x1a", "lzo"}, {"whatever", "unknown"}}) {
    image.payload = Bytes(64);
    std::memcpy(image.payload.data(), magic, 8);
    expect_refused(build_bzimage(image), name);
  }
}

TEST(BzImage, RefusesForeignHeaders) {
  const Bytes good = build_bzimage(make_image());
  const auto with = [&](auto change) { return with_header(good, change); };
  expect_refused(with([](auto& h) { h.header = 0; }), "neither an ELF kernel nor a bzImage");
  expect_refused(with([](auto& h) { h.boot_flag = 0; }), "neither an ELF kernel nor a bzImage");
  expect_refused(with([](auto& h) { h.version = 0x0207; }), "older than 2.08");
  expect_refused(with([](auto& h) { h.setup_sects = 255; }), "truncated");
  expect_refused(with([](auto& h) { h.payload_offset = 0xfffffff0; }), "truncated");
  expect_refused(with([](auto& h) { h.payload_length = 0xfffffff0; }), "truncated");
  expect_refused(with([](auto& h) { h.payload_length = 0; }), "too few");
  expect_refused(with([](auto& h) { h.payload_length = 7; }), "too few");
  expect_refused(pattern(100, 1), "neither an ELF kernel nor a bzImage");
  expect_refused(Bytes(3), "too early");
}

TEST(BzImage, RefusesEveryTruncation) {
  const Bytes whole = build_bzimage(make_image(Compression::kGzip));
  for (size_t size = 0; size < whole.size(); size += 97) {
    GuestMemory memory = make_memory();
    EXPECT_FALSE(load(memory, Bytes(whole.begin(), whole.begin() + static_cast<long>(size))))
        << size;
  }
}

TEST(BzImage, RefusesAWrongUnpackedSize) {
  for (const auto compression :
       {Compression::kGzip, Compression::kXz, Compression::kLz4, Compression::kZstd}) {
    SCOPED_TRACE(compression_name(compression));
    const Bytes good = build_bzimage(make_image(compression));
    uint32_t size = 0;
    std::memcpy(&size, good.data() + good.size() - 4, 4);
    for (const uint32_t wrong : {0U, 1U, size - 1, size + 1, 0xffffffffU}) {
      Bytes file = good;
      std::memcpy(file.data() + file.size() - 4, &wrong, 4);
      GuestMemory memory = make_memory();
      EXPECT_FALSE(load(memory, file)) << wrong;
    }
  }
}

TEST(BzImage, KeepsOnlyTheSetupHeaderTheImageHas) {
  BzImage image = make_image();
  // A jump of 0x48 bytes: the header ends where protocol 2.08's does.
  const Bytes file = with_header(build_bzimage(image), [](auto& h) { h.jump = 0x48eb; });
  GuestMemory memory = make_memory();
  const auto kernel = load(memory, file);
  ASSERT_TRUE(kernel);
  EXPECT_EQ(kernel->setup_header.size(), 0x202U + 0x48 - kHeaderOffset);
}

class KernelCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/mote-kernel-cache-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  [[nodiscard]] KernelCacheOptions options() const { return {directory_}; }
  /// What the cache holds, without the links that remember identities.
  [[nodiscard]] std::vector<std::filesystem::path> entries() const { return named("vmlinux-"); }
  [[nodiscard]] std::vector<std::filesystem::path> links() const { return named("file-"); }
  [[nodiscard]] size_t entry_count() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(directory_), {}));
  }

  std::string directory_;

 private:
  [[nodiscard]] std::vector<std::filesystem::path> named(std::string_view prefix) const {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      if (entry.path().filename().string().starts_with(prefix)) found.push_back(entry.path());
    }
    return found;
  }
};

TEST_F(KernelCacheTest, SecondLaunchReadsTheStoredKernel) {
  const Bytes file = build_bzimage(make_image());
  GuestMemory memory = make_memory();
  expect_loaded(memory, load(memory, file, options()));
  ASSERT_EQ(entries().size(), 1U);
  struct stat before {};
  ASSERT_EQ(::stat(entries()[0].c_str(), &before), 0);
  EXPECT_EQ(before.st_mode & 0777, 0444U);

  // Marked in the stored file, so that one sees which bytes were loaded.
  Bytes marker = pattern(1, 77);
  ASSERT_EQ(::chmod(entries()[0].c_str(), 0600), 0);
  {
    const base::UniqueFd stored(::open(entries()[0].c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::pwrite(stored.get(), marker.data(), 1, 4096 + 100), 1);
  }
  GuestMemory second = make_memory();
  const auto kernel = load(second, file, options());
  ASSERT_TRUE(kernel) << kernel.error().message();
  EXPECT_EQ(kernel->entry.address, Gpa{kBase + 0x850});
  EXPECT_EQ(second.load_once<std::byte>(Gpa{kBase + 100}), marker[0]);
  EXPECT_EQ(entries().size(), 1U);
}

TEST_F(KernelCacheTest, DifferentKernelsGetDifferentFiles) {
  GuestMemory memory = make_memory();
  ASSERT_TRUE(load(memory, build_bzimage(make_image(Compression::kGzip)), options()));
  GuestMemory other = make_memory();
  ASSERT_TRUE(load(other, build_bzimage(make_image(Compression::kXz)), options()));
  EXPECT_EQ(entries().size(), 2U);
}

TEST_F(KernelCacheTest, RemembersASettledFileByItsIdentity) {
  const auto file = testing::make_file(build_bzimage(make_image(Compression::kLz4)));
  const auto launch = [&] {
    GuestMemory memory = make_memory();
    expect_loaded(memory, load_kernel(memory, file.get(), "vmlinuz", options()));
  };
  launch();
  EXPECT_TRUE(links().empty()) << "a file that has just changed may change again unseen";

  std::this_thread::sleep_for(std::chrono::milliseconds(2100));
  launch();
  ASSERT_EQ(links().size(), 1U);
  ASSERT_EQ(std::filesystem::read_symlink(links()[0]), entries()[0].filename());

  // The link is what a launch goes by: what it names is taken, as long as it is whole.
  const auto link = links()[0];
  const auto kernel = entries()[0];
  std::filesystem::rename(kernel, directory_ + "/kept");
  launch();
  EXPECT_EQ(entries()[0], kernel);

  // A link that leads out of the cache is not followed.
  std::filesystem::remove(link);
  std::filesystem::remove(kernel);
  std::filesystem::create_symlink("vmlinux-/../../etc/passwd" + kernel.filename().string(), link);
  launch();
  ASSERT_EQ(entries().size(), 1U) << "the kernel was stored under a name that leads elsewhere";

  // A changed file has a new change time, so that the link no longer speaks for it.
  const Bytes changed = build_bzimage(make_image(Compression::kXz));
  ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(changed.size())), 0);
  ASSERT_EQ(::pwrite(file.get(), changed.data(), changed.size(), 0),
            static_cast<ssize_t>(changed.size()));
  launch();
  EXPECT_EQ(entries().size(), 2U);
  EXPECT_EQ(links().size(), 1U);
}

TEST_F(KernelCacheTest, DamagedFilesAreReplaced) {
  const Bytes file = build_bzimage(make_image());
  GuestMemory memory = make_memory();
  ASSERT_TRUE(load(memory, file, options()));
  const auto path = entries()[0];
  const auto whole = std::filesystem::file_size(path);
  // Empty, cut short, longer, and all zeros at the right size: what a crash may leave behind.
  for (const uint64_t size : {uint64_t{0}, whole - 1, whole + 1, whole}) {
    ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
    const base::UniqueFd stored(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::ftruncate(stored.get(), 0), 0);
    ASSERT_EQ(::ftruncate(stored.get(), static_cast<off_t>(size)), 0);
    GuestMemory again = make_memory();
    expect_loaded(again, load(again, file, options()));
    EXPECT_EQ(std::filesystem::file_size(path), whole) << size;
    EXPECT_EQ(entry_count(), 1U) << "something was left aside";
  }
}

TEST_F(KernelCacheTest, LinksAreNotFollowed) {
  const Bytes file = build_bzimage(make_image());
  GuestMemory memory = make_memory();
  ASSERT_TRUE(load(memory, file, options()));
  const auto path = entries()[0];
  std::filesystem::remove(path);
  std::filesystem::create_symlink("/dev/zero", path);
  GuestMemory again = make_memory();
  expect_loaded(again, load(again, file, options()));
  EXPECT_TRUE(std::filesystem::is_regular_file(std::filesystem::symlink_status(path)));
}

TEST_F(KernelCacheTest, OthersMustNotBeAbleToWriteIt) {
  ASSERT_EQ(::chmod(directory_.c_str(), 0777), 0);
  GuestMemory memory = make_memory();
  const auto kernel = load(memory, build_bzimage(make_image()), options());
  ASSERT_FALSE(kernel);
  EXPECT_NE(kernel.error().message().find("--kernel-cache: " + directory_), std::string::npos);
  EXPECT_EQ(entry_count(), 0U);
}

TEST_F(KernelCacheTest, AMissingDirectoryIsAnError) {
  GuestMemory memory = make_memory();
  const auto kernel = load(memory, build_bzimage(make_image()), {directory_ + "/not-there"});
  ASSERT_FALSE(kernel);
  EXPECT_NE(kernel.error().message().find("not-there"), std::string::npos);
}

TEST_F(KernelCacheTest, ACacheThatCannotBeWrittenCostsOnlyTime) {
  // procfs takes no files, not even from root, and belongs to root.
  GuestMemory memory = make_memory();
  expect_loaded(memory, load(memory, build_bzimage(make_image()), {"/proc/self/fd"}));
}

TEST_F(KernelCacheTest, ADamagedPayloadIsNotStored) {
  const BzImage image = make_image(Compression::kGzip);
  Bytes file = build_bzimage(image);
  file[file.size() - image.payload.size() / 2] ^= std::byte{0xff};
  GuestMemory memory = make_memory();
  const auto kernel = load(memory, file, options());
  ASSERT_FALSE(kernel);
  EXPECT_NE(kernel.error().message().find("gzip payload is damaged"), std::string::npos)
      << kernel.error().message();
  EXPECT_EQ(entry_count(), 0U);
}

}  // namespace
}  // namespace mote::boot
