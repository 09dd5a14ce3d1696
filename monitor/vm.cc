#include "monitor/vm.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include <array>
#include <ranges>

#include "base/log.h"
#include "memory/layout.h"
#include "memory/page_scan.h"

namespace mote::monitor {
namespace {

/// Calls `done` on the loop once `count` parts have reported; the parts report on the loop thread.
std::shared_ptr<std::move_only_function<void()>> after_all(size_t count,
                                                           std::move_only_function<void()> done) {
  return std::make_shared<std::move_only_function<void()>>(
      [left = count, finish = std::move(done)]() mutable {
        if (--left == 0) finish();
      });
}

template <typename... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};

}  // namespace

base::Result<> Vm::start(Vcpu::Begin begin, std::span<const sock_filter> filter) {
  // The boot processor comes last: until it runs, no other does, so a start that fails halfway has
  // not run the guest.
  for (const auto& vcpu : vcpus_ | std::views::reverse) MOTE_TRY_VOID(vcpu->start(begin, filter));
  return {};
}

void Vm::pause(std::move_only_function<void()> done) {
  const auto report = after_all(vcpus_.size(), std::move(done));
  for (const auto& vcpu : vcpus_) vcpu->pause([report] { (*report)(); });
}

void Vm::resume() {
  for (const auto& vcpu : vcpus_) vcpu->resume();
}

void Vm::suspend_devices(std::move_only_function<void()> done) {
  if (transports_.empty()) return done();
  const auto report = after_all(transports_.size(), std::move(done));
  for (const auto& transport : transports_) transport->suspend([report] { (*report)(); });
}

void Vm::resume_devices() {
  for (const auto& transport : transports_) transport->resume();
}

base::Result<snapshot::MachineState> Vm::save(const snapshot::HostState& host) {
  snapshot::MachineState state;
  for (const auto& vcpu : vcpus_) {
    vcpu->fd().tell_paused();
    MOTE_TRY(auto saved, snapshot::save_vcpu(vcpu->fd(), host));
    state.vcpus.push_back(std::move(saved));
  }
  MOTE_TRY(state.clock, fd_.clock());
  state.ioapic = ioapic_->save();
  state.serial = serial_->save();
  state.i8042 = i8042_->save();
  for (const auto& transport : transports_) state.transports.push_back(transport->save());
  return state;
}

base::Result<> Vm::renew_identity(Identity identity) {
  std::array<uint8_t, 16> id{};
  if (::getrandom(id.data(), id.size(), 0) != static_cast<ssize_t>(id.size())) {
    return base::fail_errno(errno, "getrandom");
  }
  if (!memory_.store(memory::layout::kGenerationId, id)) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "mem_size_mib: guest memory is too small to boot");
  }
  if (identity == Identity::kChanged) ::eventfd_write(generation_changed_.get(), 1);
  return {};
}

base::Result<std::vector<memory::GuestMemory::Range>> Vm::take_dirty_ranges() {
  std::vector<memory::GuestMemory::Range> ranges = memory_.take_device_writes();
  uint64_t start = 0;
  uint32_t slot = 0;
  for (const auto& region : memory_.regions()) {
    MOTE_TRY(const auto bitmap, fd_.dirty_log(slot++, region.size_bytes()));
    for (uint64_t page = 0; page < region.size_bytes() / memory::layout::kPageSize; ++page) {
      if ((bitmap[page / 64] >> (page % 64) & 1) == 0) continue;
      const uint64_t offset = start + page * memory::layout::kPageSize;
      if (!ranges.empty() && ranges.back().offset + ranges.back().size_bytes == offset) {
        ranges.back().size_bytes += memory::layout::kPageSize;
      } else {
        ranges.push_back({offset, memory::layout::kPageSize});
      }
    }
    start += region.size_bytes();
  }
  return memory::merge_ranges(std::move(ranges), {});
}

void Vm::shut_down(std::move_only_function<void()> done) {
  stopping_ = true;
  auto drain = [this, finish = std::move(done)]() mutable {
    if (transports_.empty()) return finish();
    const auto report = after_all(transports_.size(), std::move(finish));
    for (const auto& transport : transports_) transport->shut_down([report] { (*report)(); });
  };
  const auto report = after_all(vcpus_.size(), std::move(drain));
  for (const auto& vcpu : vcpus_) vcpu->end([report] { (*report)(); });
}

AfterExit Vm::handle_exit(uint32_t vcpu_index, const VmExit& exit, VcpuMetrics& metrics) {
  return std::visit(Overloaded{
                        [&](const PortExit& port) { return handle_port(port, metrics); },
                        [&](const MmioExit& mmio) { return handle_mmio(mmio, metrics); },
                        [&](const IoApicEoiExit& eoi) {
                          ioapic_->end_of_interrupt(eoi.vector);
                          return AfterExit::kContinue;
                        },
                        [](const InterruptedExit&) { return AfterExit::kContinue; },
                        [](const HaltExit&) { return AfterExit::kContinue; },
                        [&](const ShutdownExit&) {
                          guest_asked_for_shutdown();
                          return AfterExit::kStop;
                        },
                        [&](const SystemEventExit& event) {
                          LOG_INFO("guest system event {}", event.type);
                          guest_asked_for_shutdown();
                          return AfterExit::kStop;
                        },
                        [&](const FatalExit& fatal_exit) {
                          metrics.failures.fetch_add(1, std::memory_order_relaxed);
                          fatal(vcpu_index, fatal_exit);
                          return AfterExit::kStop;
                        },
                    },
                    exit);
}

AfterExit Vm::handle_port(const PortExit& exit, VcpuMetrics& metrics) {
  const bool is_read = exit.direction == Direction::kRead;
  (is_read ? metrics.exit_io_in : metrics.exit_io_out).fetch_add(1, std::memory_order_relaxed);
  for (size_t at = 0; at < exit.data.size(); at += exit.element_size_bytes) {
    const auto element = exit.data.subspan(at, exit.element_size_bytes);
    if (is_read) {
      ports_.read(exit.port, element);
    } else {
      ports_.write(exit.port, element);
    }
  }
  return stopping_.load(std::memory_order_relaxed) ? AfterExit::kStop : AfterExit::kContinue;
}

AfterExit Vm::handle_mmio(const MmioExit& exit, VcpuMetrics& metrics) {
  if (exit.direction == Direction::kRead) {
    metrics.exit_mmio_read.fetch_add(1, std::memory_order_relaxed);
    mmio_.read(exit.address, exit.data);
  } else {
    metrics.exit_mmio_write.fetch_add(1, std::memory_order_relaxed);
    mmio_.write(exit.address, exit.data);
  }
  return stopping_.load(std::memory_order_relaxed) ? AfterExit::kStop : AfterExit::kContinue;
}

void Vm::guest_asked_for_shutdown() {
  if (stopping_.exchange(true)) return;
  loop_.post([this] { events_.on_guest_shutdown(); });
}

void Vm::fatal(uint32_t vcpu_index, const FatalExit& exit) {
  // The vCPU stands outside the guest now, so its registers may be asked for here.
  const auto regs = vcpus_[vcpu_index]->fd().regs();
  std::string reason =
      fmt::format("vCPU {} cannot go on: exit reason {}, {:#x}, {:#x}, rip {:#x}", vcpu_index,
                  exit.exit_reason, exit.reason, exit.detail, regs ? regs->rip : 0);
  if (stopping_.exchange(true)) return;
  loop_.post([this, text = std::move(reason)] { events_.on_fatal_error(text); });
}

}  // namespace mote::monitor
