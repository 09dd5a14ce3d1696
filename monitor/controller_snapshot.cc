// Controller: PUT /snapshot/create and PUT /snapshot/load.

#include <sys/random.h>

#include <algorithm>

#include "base/clock.h"
#include "memory/layout.h"
#include "memory/page_scan.h"
#include "monitor/controller.h"
#include "monitor/snapshot/files.h"
#include "monitor/snapshot/uffd.h"
#include "monitor/snapshot/working_set.h"
#include "monitor/vm_builder.h"

namespace mote::monitor {
namespace {

using Ranges = std::vector<memory::GuestMemory::Range>;

base::Result<snapshot::SnapshotId> random_id() {
  snapshot::SnapshotId id;
  if (::getrandom(id.data(), id.size(), 0) != static_cast<ssize_t>(id.size())) {
    return base::fail_errno(errno, "getrandom");
  }
  return id;
}

Ranges all_of(const memory::GuestMemory& memory) {
  return {{0, memory.size_bytes()}};
}

/// The pages a full snapshot has to look at: what was written, and what files back.
Ranges pages_in_use(const memory::GuestMemory& memory) {
  auto written = memory::written_ranges(memory);
  if (!written) return all_of(memory);
  return memory::merge_ranges(std::move(*written), memory.file_ranges());
}

/// An override for something the snapshot does not have is a mistake somewhere.
template <typename Items, typename Override, typename Id, typename Apply>
base::Result<> apply_overrides(Items& items, const std::vector<Override>& overrides, Id id,
                               const char* field, Apply apply) {
  for (const Override& one : overrides) {
    const auto item = std::ranges::find_if(
        items, [&](const auto& candidate) { return candidate.*(id.first) == one.*(id.second); });
    if (item == items.end()) {
      return base::fail(base::ErrorCode::kNotFound,
                        std::string(field) + ": the snapshot has no \"" + one.*(id.second) + "\"");
    }
    apply(*item, one);
  }
  return {};
}

base::Result<> apply_overrides(snapshot::Snapshot& snapshot, const SnapshotLoadConfig& config) {
  using NetworkOverride = SnapshotLoadConfig::NetworkOverride;
  using DriveOverride = SnapshotLoadConfig::DriveOverride;
  MOTE_TRY_VOID(apply_overrides(
      snapshot.network_interfaces, config.network_overrides,
      std::pair(&virtio::net::NetworkInterfaceConfig::iface_id, &NetworkOverride::iface_id),
      "network_overrides",
      [](auto& nic, const NetworkOverride& given) { nic.host_dev_name = given.host_dev_name; }));
  return apply_overrides(
      snapshot.drives, config.drive_overrides,
      std::pair(&virtio::blk::DriveConfig::drive_id, &DriveOverride::drive_id), "drive_overrides",
      [](auto& drive, const DriveOverride& given) { drive.path_on_host = given.path_on_host; });
}

/// A page-fault handler has the memory file itself.
base::Result<snapshot::OpenedSnapshot> open_files(const SnapshotLoadConfig& config) {
  if (config.backend == MemoryBackend::kFile) {
    return snapshot::open_snapshot({config.snapshot_path, config.memory_path});
  }
  auto state = snapshot::read_snapshot(config.snapshot_path);
  if (!state) return base::with_context(std::move(state).error(), "snapshot_path");
  return snapshot::OpenedSnapshot{std::move(*state), {}};
}

}  // namespace

void Controller::create_snapshot(const SnapshotCreateConfig& config, ReplyCallback reply) {
  const size_t index = Action(CreateSnapshot{}).index();
  if (state_ != VmState::kPaused) {
    return finish(index, reply,
                  base::fail(base::ErrorCode::kWrongState,
                             "A snapshot can be created only while the microVM is paused."));
  }
  vm_->suspend_devices([this, index, config, answer = std::move(reply)]() mutable {
    auto prepared = prepare_snapshot(config);
    if (!prepared) {
      had_base_ = false;
      vm_->resume_devices();
      finish(index, answer, std::unexpected(std::move(prepared).error()));
      return run_next();
    }
    // Memory rests until the answer is given: a thread writes it, and the API goes on answering.
    snapshot_writer_ =
        std::jthread([this, index, given = std::move(*prepared),
                      paths = snapshot::Paths{config.snapshot_path, config.mem_file_path},
                      told = std::move(answer)]() mutable {
          auto written =
              snapshot::write_snapshot(vm_->memory(), given.snapshot, given.pages, paths);
          loop_.post([this, index, outcome = std::move(written), told = std::move(told)]() mutable {
            vm_->resume_devices();
            if (outcome) {
              finish(index, told, NoContent{});
            } else {
              had_base_ = false;  // The log of what changed since then is gone.
              finish(index, told, std::unexpected(std::move(outcome).error()));
            }
            run_next();
          });
        });
  });
}

base::Result<Controller::PreparedSnapshot> Controller::prepare_snapshot(
    const SnapshotCreateConfig& config) {
  PreparedSnapshot prepared;
  snapshot::Snapshot& snapshot = prepared.snapshot;
  MOTE_TRY(snapshot.id, random_id());
  MOTE_TRY(const auto host, snapshot::host_state(*host_.kvm()));
  MOTE_TRY(snapshot.state, vm_->save(host));
  snapshot.machine = machine_;
  snapshot.boot_source = boot_source_;
  for (const Drive& drive : drives_) snapshot.drives.push_back(drive.config);
  for (const NetworkInterface& nic : network_interfaces_)
    snapshot.network_interfaces.push_back(nic.config);
  snapshot.mmds = mmds_config_;
  const memory::GuestMemory& memory = vm_->memory();
  // What is written down now is the base of the next diff, whatever this one's type.
  const bool follows_base = std::exchange(had_base_, true);
  Ranges dirty;
  if (machine_.track_dirty_pages) {
    MOTE_TRY(dirty, vm_->take_dirty_ranges());
  }
  if (!config.diff) {
    // A page that a fault handler has not provided yet is not zero: it is asked for now.
    prepared.pages = page_faults_.valid() ? all_of(memory) : pages_in_use(memory);
    return prepared;
  }
  snapshot.type = snapshot::SnapshotType::kDiff;
  if (follows_base && machine_.track_dirty_pages) {
    prepared.pages = std::move(dirty);
  } else if (loaded_) {  // Without a log: all that was written since the base was mapped.
    prepared.pages = memory::written_ranges(memory).value_or(all_of(memory));
  } else {
    prepared.pages = pages_in_use(memory);
  }
  snapshot.ranges = prepared.pages;
  return prepared;
}

Reply Controller::handle(const LoadSnapshot& action) {
  const uint64_t start_us = base::monotonic_us();
  MOTE_TRY_VOID(require_not_started());
  if (boot_source_ || !drives_.empty() || !network_interfaces_.empty() || mmds_config_) {
    return base::fail(base::ErrorCode::kWrongState,
                      "Loading a microVM snapshot is not allowed after configuring boot-specific "
                      "resources.");
  }
  if (!host_.kvm()) return std::unexpected(host_.kvm().error());
  auto loaded = load_snapshot(action.config);
  if (!loaded) {  // As if it had not been tried.
    vm_.reset();
    drives_.clear();
    network_interfaces_.clear();
    boot_source_.reset();
    mmds_config_.reset();
    mapped_snapshot_.reset();
    page_faults_.reset();
    return std::unexpected(std::move(loaded).error());
  }
  state_ = VmState::kPaused;
  loaded_ = had_base_ = true;
  show_waiting_console_output();
  if (!serial_ || !serial_->serial_out_path) {
    console_ = std::make_unique<ConsoleInput>(loop_, vm_->serial());
  }
  if (action.config.resume_vm) {
    resume_soon();
    state_ = VmState::kRunning;
  }
  load_us_ = base::monotonic_us() - start_us;
  LOG_INFO("snapshot loaded in {} us: {} vCPU(s), {} MiB", load_us_, machine_.vcpu_count,
           machine_.mem_size_mib);
  return NoContent{};
}

Reply Controller::handle(const RecordWorkingSet& action) {
  MOTE_TRY_VOID(require_started());
  if (!mapped_snapshot_) {
    return base::fail(base::ErrorCode::kWrongState,
                      "working_set_path: only a VM whose memory is mapped from a snapshot's file "
                      "has a working set");
  }
  auto set = snapshot::record_working_set(vm_->memory(), *mapped_snapshot_);
  if (!set) return base::with_context(std::move(set).error(), "working_set_path");
  auto written = snapshot::write_working_set(*set, action.config.working_set_path);
  if (!written) return base::with_context(std::move(written).error(), "working_set_path");
  return NoContent{};
}

base::Result<> Controller::load_snapshot(const SnapshotLoadConfig& config) {
  MOTE_TRY(auto opened, open_files(config));
  snapshot::Snapshot& snapshot = opened.snapshot;
  MOTE_TRY_VOID(apply_overrides(snapshot, config));
  machine_ = snapshot.machine;
  machine_.track_dirty_pages = config.track_dirty_pages;
  machine_.huge_pages = config.huge_pages.value_or(machine_.huge_pages);
  boot_source_ = snapshot.boot_source;
  MOTE_TRY(auto memory, memory_of_snapshot(opened, config));

  const uint16_t queues = wanted_queues();
  for (const auto& drive : snapshot.drives) {
    MOTE_TRY(auto device, virtio::blk::Device::create(drive, loop_, queues));
    drives_.push_back({drive, std::move(device), queues});
  }
  for (const auto& nic : snapshot.network_interfaces) {
    MOTE_TRY(auto device, virtio::net::Device::create(nic, loop_, queues));
    network_interfaces_.push_back({nic, std::move(device), queues});
  }
  mmds_config_ =
      snapshot.mmds;  // How to reach it, and not what is in it: that is each clone's own.
  attach_mmds();
  // Only this flag may be set; without it the clock goes on where it stood.
  snapshot.state.clock.flags &= config.clock_realtime ? KVM_CLOCK_REALTIME : 0U;
  const VmConfig whole = whole_config();
  MOTE_TRY(auto serial_output, open_serial_output());
  BuildInputs inputs{whole, host_, {}, options_.boot_timer, {}, std::move(serial_output)};
  for (const Drive& drive : drives_) inputs.devices.push_back(drive.device.get());
  for (const NetworkInterface& nic : network_interfaces_)
    inputs.devices.push_back(nic.device.get());
  MOTE_TRY(vm_,
           VmBuilder::restore(std::move(inputs), std::move(memory), snapshot.state, loop_, *this));
  return vm_->start(Vcpu::Begin::kPaused, options_.vcpu_filter);
}

base::Result<memory::GuestMemory> Controller::memory_of_snapshot(
    const snapshot::OpenedSnapshot& opened, const SnapshotLoadConfig& config) {
  const snapshot::Snapshot& snapshot = opened.snapshot;
  const uint64_t bytes = snapshot.machine.mem_size_mib * memory::layout::kMib;
  if (config.backend == MemoryBackend::kUffd) {
    if (config.working_set_path) {
      return base::fail(base::ErrorCode::kInvalidArgument,
                        "working_set_path: a page-fault handler provides the memory");
    }
    MOTE_TRY(auto memory, memory::GuestMemory::create(bytes, memory::HugePages::kNone));
    auto faults = snapshot::hand_over_faults(memory, config.memory_path);
    if (!faults) return base::with_context(std::move(faults).error(), "mem_backend");
    page_faults_ = std::move(*faults);
    return memory;
  }
  auto memory =
      memory::GuestMemory::create_from_file(bytes, machine_.huge_pages, opened.memory.get());
  if (!memory) return base::with_context(std::move(memory).error(), "mem_backend");
  if (machine_.huge_pages == memory::HugePages::k2M) return memory;  // All of it is there.
  mapped_snapshot_ = snapshot.id;
  if (config.working_set_path) {
    const auto set = snapshot::read_working_set(*config.working_set_path, snapshot);
    if (!set) return base::with_context(set.error(), "working_set_path");
    LOG_INFO("working set: {} KiB mapped in advance", snapshot::prefetch(*memory, *set) / 1024);
  }
  return memory;
}

}  // namespace mote::monitor
