#include "devices/virtio/blk/operation.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <string>

namespace mote::virtio::blk {
namespace {

using Step = Operation::Step;

class OperationTest : public ::testing::Test {
 protected:
  static constexpr size_t kFileBytes = 1024 * 1024;

  void SetUp() override {
    // tmpfs: it can punch holes but has no ZERO_RANGE.
    memory_file_ = base::UniqueFd(::memfd_create("disk", MFD_CLOEXEC));
    const std::string text(kFileBytes, 'x');
    ASSERT_EQ(::pwrite(memory_file_.get(), text.data(), text.size(), 0),
              static_cast<ssize_t>(text.size()));
    file_ = DiskFile::open("/proc/self/fd/" + std::to_string(memory_file_.get()),
                           DiskAccess::kReadWrite)
                .value();
    ASSERT_EQ(io_uring_queue_init(4, &ring_, 0), 0);
  }
  void TearDown() override { io_uring_queue_exit(&ring_); }

  Operation make(const Request& request, Durability durability = Durability::kWriteBack) {
    return {request, chain_, file_, durability};
  }
  io_uring_sqe prepared(const Operation& operation) {
    io_uring_sqe sqe{};
    operation.prepare(&sqe);
    return sqe;
  }
  /// Carries it out for real; counts the rounds.
  Step run(Operation& operation) {
    for (rounds_ = 1;; ++rounds_) {
      operation.prepare(io_uring_get_sqe(&ring_));
      EXPECT_EQ(io_uring_submit_and_wait(&ring_, 1), 1);
      io_uring_cqe* cqe = nullptr;
      EXPECT_EQ(io_uring_wait_cqe(&ring_, &cqe), 0);
      const Step step = operation.advance(cqe->res);
      io_uring_cqe_seen(&ring_, cqe);
      if (step != Step::kAgain) return step;
    }
  }
  std::string file_text(uint64_t offset, size_t size) {
    std::string text(size, '\0');
    EXPECT_EQ(::pread(memory_file_.get(), text.data(), size, static_cast<off_t>(offset)),
              static_cast<ssize_t>(size));
    return text;
  }

  base::UniqueFd memory_file_;
  std::shared_ptr<const DiskFile> file_;
  io_uring ring_{};
  Chain chain_;
  std::array<std::byte, 4096> data_{};
  int rounds_ = 0;
};

TEST_F(OperationTest, ShortTransfersGoOnWhereTheyStopped) {
  chain_.writable = {{data_.data(), 1000}, {data_.data() + 1000, 24}, {data_.data() + 1024, 512}};
  Operation operation = make({RequestKind::kRead, 4096, 1536});
  EXPECT_EQ(prepared(operation).opcode, IORING_OP_READV);
  EXPECT_EQ(operation.advance(1010), Step::kAgain);
  io_uring_sqe sqe = prepared(operation);
  EXPECT_EQ(sqe.off, 4096U + 1010);
  EXPECT_EQ(sqe.len, 2U);
  EXPECT_EQ(chain_.writable[1].iov_base, data_.data() + 1010);
  EXPECT_EQ(chain_.writable[1].iov_len, 14U);
  EXPECT_EQ(operation.advance(14), Step::kAgain);
  sqe = prepared(operation);
  EXPECT_EQ(sqe.opcode, IORING_OP_READ) << "one buffer needs no list";
  EXPECT_EQ(sqe.len, 512U);
  EXPECT_EQ(sqe.off, 4096U + 1024);
  EXPECT_EQ(operation.advance(512), Step::kDone);
  EXPECT_EQ(operation.moved_bytes(), 1536U);
}

TEST_F(OperationTest, InterruptedRequestsAreTriedAgain) {
  chain_.readable = {{data_.data(), 512}};
  Operation operation = make({RequestKind::kWrite, 0, 512});
  EXPECT_EQ(operation.advance(-EINTR), Step::kAgain);
  EXPECT_EQ(operation.advance(-EAGAIN), Step::kAgain);
  EXPECT_EQ(operation.moved_bytes(), 0U);
  EXPECT_EQ(prepared(operation).off, 0U);
  EXPECT_EQ(operation.advance(-ENOSPC), Step::kFailed);
}

TEST_F(OperationTest, TheEndOfTheFileIsAFailure) {
  chain_.writable = {{data_.data(), 1024}};
  Operation operation = make({RequestKind::kRead, kFileBytes - 512, 1024});
  EXPECT_EQ(run(operation), Step::kFailed);
  EXPECT_EQ(operation.moved_bytes(), 512U);
}

TEST_F(OperationTest, WriteThroughSyncsEveryChangeAndNothingElse) {
  chain_.readable = {{data_.data(), 512}};
  chain_.writable = {{data_.data(), 512}};
  for (const RequestKind kind :
       {RequestKind::kWrite, RequestKind::kDiscard, RequestKind::kWriteZeroes}) {
    Operation operation = make({kind, 0, 512}, Durability::kWriteThrough);
    EXPECT_EQ(operation.advance(kind == RequestKind::kWrite ? 512 : 0), Step::kAgain);
    const io_uring_sqe sqe = prepared(operation);
    EXPECT_EQ(sqe.opcode, IORING_OP_FSYNC);
    EXPECT_EQ(sqe.fsync_flags, IORING_FSYNC_DATASYNC);
    EXPECT_EQ(operation.advance(0), Step::kDone);
  }
  Operation read = make({RequestKind::kRead, 0, 512}, Durability::kWriteThrough);
  EXPECT_EQ(read.advance(512), Step::kDone);
  Operation lost = make({RequestKind::kWrite, 0, 512}, Durability::kWriteThrough);
  EXPECT_EQ(lost.advance(512), Step::kAgain);
  EXPECT_EQ(lost.advance(-EIO), Step::kFailed);
}

TEST_F(OperationTest, DiscardPunchesAHoleAndKeepsTheSize) {
  Operation operation = make({RequestKind::kDiscard, 4096, 8192});
  EXPECT_EQ(run(operation), Step::kDone);
  EXPECT_EQ(file_text(4095, 8194), "x" + std::string(8192, '\0') + "x");
}

TEST_F(OperationTest, DiscardIsAHint) {
  Operation operation = make({RequestKind::kDiscard, 0, 512});
  EXPECT_EQ(operation.advance(-EOPNOTSUPP), Step::kDone);
  Operation failed = make({RequestKind::kDiscard, 0, 512});
  EXPECT_EQ(failed.advance(-EIO), Step::kFailed);
}

TEST_F(OperationTest, ZerosAreWrittenWhereFallocateCannot) {
  constexpr uint64_t kOffset = 512;
  constexpr uint64_t kSize = 3 * 64 * 1024 + 1536;  // Whole blocks of zeros, and a rest.
  Operation operation = make({RequestKind::kWriteZeroes, kOffset, kSize});
  EXPECT_EQ(run(operation), Step::kDone);
  EXPECT_EQ(rounds_, 3) << "fallocate, the blocks, the rest";
  EXPECT_EQ(file_text(0, kOffset), std::string(kOffset, 'x'));
  EXPECT_EQ(file_text(kOffset, kSize), std::string(kSize, '\0'));
  EXPECT_EQ(file_text(kOffset + kSize, 512), std::string(512, 'x'));
}

TEST_F(OperationTest, ZerosOfTheLargestRequestFitOneWrite) {
  constexpr uint64_t kSize = kMaxWriteZeroesSectors * kSectorBytes;
  Operation operation = make({RequestKind::kWriteZeroes, 0, kSize});
  EXPECT_EQ(operation.advance(-EOPNOTSUPP), Step::kAgain);
  EXPECT_EQ(prepared(operation).len * uint64_t{64} * 1024, kSize);
  EXPECT_EQ(operation.advance(static_cast<int32_t>(kSize)), Step::kDone);
}

TEST_F(OperationTest, ZerosByUnmapLeaveAHole) {
  Operation operation = make({RequestKind::kWriteZeroes, 0, 8192, true});
  EXPECT_EQ(run(operation), Step::kDone);
  EXPECT_EQ(rounds_, 1);
  EXPECT_EQ(file_text(0, 8193), std::string(8192, '\0') + "x");
}

}  // namespace
}  // namespace mote::virtio::blk
