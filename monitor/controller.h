#pragma once
// The life of one VM: takes Actions, checks that they fit its state, keeps the configuration, owns
// devices and the Vm. Loop thread only. Actions are applied one at a time; those that arrive while
// one is under way (a pause, for one) wait their turn, so that the API always answers.

#include <linux/filter.h>

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "devices/mmds/service.h"
#include "devices/virtio/blk/device.h"
#include "devices/virtio/net/device.h"
#include "io/event_loop.h"
#include "io/timer.h"
#include "monitor/action.h"
#include "monitor/boot_phases.h"
#include "monitor/console.h"
#include "monitor/exit_code.h"
#include "monitor/host_probe.h"
#include "monitor/metrics.h"
#include "monitor/snapshot/files.h"
#include "monitor/vm.h"

namespace mote::monitor {

struct ControllerOptions {
  std::string instance_id;
  std::optional<std::string> kernel_cache;
  bool boot_timer = false;
  size_t mmds_limit_bytes = 51200;  ///< The longest JSON text of the guest's metadata.
  BootPhases phases;
  std::span<const sock_filter> vcpu_filter;  ///< Outlives the controller; empty: none.
};

class Controller final : public ActionSink, public VmEvents {
 public:
  /// `host` outlives the controller.
  Controller(io::EventLoop& loop, HostProbe& host, ControllerOptions options);
  ~Controller() override = default;

  // ActionSink
  void apply(Action action, ReplyCallback reply) override;

  /// Ends the VM in order (vCPUs, devices, metrics) and then the loop. The first call's code
  /// counts.
  void shut_down(ExitCode code);
  [[nodiscard]] ExitCode exit_code() const { return exit_code_.value_or(ExitCode::kOk); }
  [[nodiscard]] BootPhases& phases() { return options_.phases; }

  // VmEvents
  void on_guest_shutdown() override;
  void on_fatal_error(const std::string& reason) override;
  void on_boot_timer(uint64_t monotonic_us, uint64_t cpu_us) override;

 private:
  struct Drive {
    virtio::blk::DriveConfig config;
    std::unique_ptr<virtio::blk::Device> device;
    uint16_t queue_count;
  };
  struct NetworkInterface {
    virtio::net::NetworkInterfaceConfig config;
    std::unique_ptr<virtio::net::Device> device;
    uint16_t queue_pairs;
  };
  struct Waiting {
    Action action;
    ReplyCallback reply;
  };
  struct RequestCount {
    uint64_t total = 0;
    uint64_t failed = 0;
  };

  void run_next();
  void finish(size_t action_index, ReplyCallback& reply, Reply outcome);
  /// Actions that are done when they return.
  Reply run(const Action& action);
  void pause(ReplyCallback reply);
  /// Lets the vCPUs go once the answer is on its way: on a busy host they would take the processor
  /// first, and the client would wait for a scheduler's slice.
  void resume_soon();

  // controller_snapshot.cc
  struct PreparedSnapshot {
    snapshot::Snapshot snapshot;
    std::vector<memory::GuestMemory::Range> pages;
  };
  void create_snapshot(const SnapshotCreateConfig& config, ReplyCallback reply);
  base::Result<PreparedSnapshot> prepare_snapshot(const SnapshotCreateConfig& config);
  base::Result<> load_snapshot(const SnapshotLoadConfig& config);
  base::Result<memory::GuestMemory> memory_of_snapshot(const snapshot::OpenedSnapshot& opened,
                                                       const SnapshotLoadConfig& config);

  Reply handle(const GetInstanceInfo&);
  Reply handle(const GetVersion&);
  Reply handle(const GetVmConfig&);
  Reply handle(const GetMachineConfig&);
  Reply handle(const PutMachineConfig& action);
  Reply handle(const PatchMachineConfig& action);
  Reply handle(const PutCpuConfig& action);
  Reply handle(const PutBootSource& action);
  Reply handle(const PutDrive& action);
  Reply handle(const PatchDrive& action);
  Reply handle(const PutNetworkInterface& action);
  Reply handle(const PatchNetworkInterface& action);
  Reply handle(const PutLogger& action);
  Reply handle(const PutMetrics& action);
  Reply handle(const PutSerial& action);
  Reply handle(const InstanceStart&);
  Reply handle(const FlushMetrics&);
  Reply handle(const SendCtrlAltDel&);
  Reply handle(const PauseVm&);
  Reply handle(const ResumeVm&);
  Reply handle(const CreateSnapshot&);
  Reply handle(const LoadSnapshot& action);

  Reply handle(const RecordWorkingSet& action);
  // controller_mmds.cc
  Reply handle(const GetMmds&);
  Reply handle(const PutMmds& action);
  Reply handle(const PatchMmds& action);
  Reply handle(const PutMmdsConfig& action);
  /// The interfaces that are named in the configuration answer the guest's requests from now on.
  void attach_mmds();

  Reply set_machine(const MachineConfig& machine);
  [[nodiscard]] base::Result<> require_not_started() const;
  [[nodiscard]] base::Result<> require_started() const;
  [[nodiscard]] VmConfig whole_config() const;
  [[nodiscard]] uint16_t wanted_queues() const;
  base::Result<> match_queues_to_vcpus();
  base::Result<std::unique_ptr<legacy::SerialOutput>> open_serial_output() const;
  void collect_metrics(MetricsLine& line) const;
  void flush_metrics();
  void arm_metrics_timer();
  void show_waiting_console_output();

  io::EventLoop& loop_;
  HostProbe& host_;
  ControllerOptions options_;
  VmState state_ = VmState::kNotStarted;
  std::optional<ExitCode> exit_code_;

  MachineConfig machine_;
  std::optional<CpuConfig> cpu_;
  std::optional<BootSource> boot_source_;
  std::optional<LoggerConfig> logger_;
  std::optional<MetricsConfig> metrics_config_;
  std::optional<SerialConfig> serial_;
  std::optional<mmds::Config> mmds_config_;
  mmds::Service mmds_;  // Before the interfaces that use it.
  std::vector<Drive> drives_;
  std::vector<NetworkInterface> network_interfaces_;

  std::deque<Waiting> waiting_;
  bool busy_ = false;
  std::array<RequestCount, std::variant_size_v<Action>> requests_{};
  uint64_t pause_us_ = 0;
  uint64_t resume_us_ = 0;
  uint64_t load_us_ = 0;
  bool resume_due_ = false;  ///< resume_soon() was called, and no pause came since.
  bool loaded_ = false;      ///< This VM came from a snapshot.
  std::optional<snapshot::SnapshotId> mapped_snapshot_;  ///< Whose memory file is mapped.
  bool had_base_ = false;  ///< There is a snapshot that a diff can be made after.

  MetricsFile metrics_;
  io::Timer metrics_timer_;
  io::Timer console_timer_;
  base::UniqueFd page_faults_;  // The handler's userfaultfd, as long as memory is.
  std::unique_ptr<Vm> vm_;      // After the devices it uses, so that it goes before them.
  std::unique_ptr<ConsoleInput> console_;
  std::jthread snapshot_writer_;  // Reads the VM's memory: joined before it goes.
};

}  // namespace mote::monitor
