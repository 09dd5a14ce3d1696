#include "monitor/controller.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/clock.h"
#include "memory/layout.h"
#include "monitor/version.h"
#include "monitor/vm_builder.h"

namespace mote::monitor {
namespace {

// Clients match these two texts of the reference.
constexpr const char* kNotAfterStart =
    "The requested operation is not supported after starting the microVM.";
constexpr const char* kNotBeforeStart =
    "The requested operation is not supported before starting the microVM.";
constexpr uint64_t kMetricsPeriodNs = 60'000'000'000;
// A prompt without a newline waits no longer than this; short enough to feel immediate.
constexpr uint64_t kConsoleDelayNs = 10'000'000;
/// More queues than this gain nothing: one loop thread serves them all.
constexpr uint16_t kMaxQueues = 4;

Reply done() {
  return NoContent{};
}

Reply as_reply(base::Result<> outcome) {
  if (!outcome) return std::unexpected(std::move(outcome).error());
  return NoContent{};
}

base::Result<> check_machine(const MachineConfig& machine) {
  using base::ErrorCode;
  if (machine.vcpu_count == 0 || machine.vcpu_count > memory::layout::kMaxVcpus) {
    return base::fail(ErrorCode::kInvalidArgument, "vcpu_count: must be 1 to 32");
  }
  if (machine.smt && machine.vcpu_count > 1 && machine.vcpu_count % 2 != 0) {
    return base::fail(ErrorCode::kInvalidArgument, "vcpu_count: must be 1 or even with smt");
  }
  if (machine.mem_size_mib == 0 ||
      machine.mem_size_mib > (uint64_t{1} << 46) / memory::layout::kMib) {
    return base::fail(ErrorCode::kInvalidArgument, "mem_size_mib: out of range");
  }
  if (machine.huge_pages == memory::HugePages::k2M && machine.mem_size_mib % 2 != 0) {
    return base::fail(ErrorCode::kInvalidArgument,
                      "mem_size_mib: must be even with 2 MiB huge_pages");
  }
  if (machine.cpu_template != CpuTemplate::kNone) {
    return base::fail(
        ErrorCode::kUnsupported,
        "cpu_template: static templates are not offered; describe the CPU with /cpu-config");
  }
  return {};
}

}  // namespace

Controller::Controller(io::EventLoop& loop, HostProbe& host, ControllerOptions options)
    : loop_(loop),
      host_(host),
      options_(std::move(options)),
      mmds_(options_.mmds_limit_bytes),
      metrics_timer_(loop,
                     [this] {
                       flush_metrics();
                       arm_metrics_timer();
                     }),
      console_timer_(loop, [this] {
        if (vm_ != nullptr) vm_->serial().flush();
      }) {}

void Controller::apply(Action action, ReplyCallback reply) {
  waiting_.push_back({std::move(action), std::move(reply)});
  run_next();
}

void Controller::run_next() {
  while (!busy_ && !waiting_.empty()) {
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    busy_ = true;
    if (std::holds_alternative<PauseVm>(next.action) && state_ == VmState::kRunning) {
      pause(std::move(next.reply));
    } else if (const auto* const create = std::get_if<CreateSnapshot>(&next.action)) {
      create_snapshot(create->config, std::move(next.reply));
    } else {
      finish(next.action.index(), next.reply, run(next.action));
    }
  }
}

void Controller::finish(size_t action_index, ReplyCallback& reply, Reply outcome) {
  RequestCount& count = requests_[action_index];
  ++count.total;
  if (!outcome) {
    ++count.failed;
    LOG_ERROR("request refused: {}", outcome.error().message());
  }
  busy_ = false;
  reply(std::move(outcome));
}

Reply Controller::run(const Action& action) {
  return std::visit([this](const auto& request) { return handle(request); }, action);
}

base::Result<> Controller::require_not_started() const {
  if (state_ == VmState::kNotStarted) return {};
  return base::fail(base::ErrorCode::kWrongState, kNotAfterStart);
}

base::Result<> Controller::require_started() const {
  if (state_ != VmState::kNotStarted) return {};
  return base::fail(base::ErrorCode::kWrongState, kNotBeforeStart);
}

Reply Controller::handle(const GetInstanceInfo&) {
  return InstanceInfo{kAppName, options_.instance_id, state_, kMoteVersion};
}

Reply Controller::handle(const GetVersion&) {
  return VersionInfo{kCompatibleApiVersion, kMoteVersion};
}

Reply Controller::handle(const GetMachineConfig&) {
  return machine_;
}

Reply Controller::handle(const GetVmConfig&) {
  return whole_config();
}

VmConfig Controller::whole_config() const {
  VmConfig config;
  config.machine = machine_;
  config.cpu = cpu_;
  config.boot_source = boot_source_;
  for (const Drive& drive : drives_) config.drives.push_back(drive.config);
  for (const NetworkInterface& nic : network_interfaces_)
    config.network_interfaces.push_back(nic.config);
  config.mmds = mmds_config_;
  config.logger = logger_;
  config.metrics = metrics_config_;
  config.serial = serial_;
  return config;
}

Reply Controller::handle(const PutMachineConfig& action) {
  return set_machine(action.config);
}

Reply Controller::handle(const PatchMachineConfig& action) {
  MachineConfig machine = machine_;
  const MachineConfigPatch& patch = action.patch;
  machine.vcpu_count = patch.vcpu_count.value_or(machine.vcpu_count);
  machine.mem_size_mib = patch.mem_size_mib.value_or(machine.mem_size_mib);
  machine.smt = patch.smt.value_or(machine.smt);
  machine.track_dirty_pages = patch.track_dirty_pages.value_or(machine.track_dirty_pages);
  machine.huge_pages = patch.huge_pages.value_or(machine.huge_pages);
  machine.cpu_template = patch.cpu_template.value_or(machine.cpu_template);
  return set_machine(machine);
}

Reply Controller::set_machine(const MachineConfig& machine) {
  MOTE_TRY_VOID(require_not_started());
  MOTE_TRY_VOID(check_machine(machine));
  machine_ = machine;
  return done();
}

Reply Controller::handle(const PutCpuConfig& action) {
  MOTE_TRY_VOID(require_not_started());
  cpu_ = action.config;
  return done();
}

Reply Controller::handle(const PutBootSource& action) {
  MOTE_TRY_VOID(require_not_started());
  // Opened again at InstanceStart; a path that is wrong should be told where it was given.
  MOTE_TRY_VOID(boot::open_boot_file(action.config.kernel_image_path, "kernel_image_path"));
  if (action.config.initrd_path) {
    MOTE_TRY_VOID(boot::open_boot_file(*action.config.initrd_path, "initrd_path"));
  }
  boot_source_ = action.config;
  return done();
}

Reply Controller::handle(const PutDrive& action) {
  MOTE_TRY_VOID(require_not_started());
  const auto& config = action.config;
  const auto same_id = [&](const Drive& drive) { return drive.config.drive_id == config.drive_id; };
  const bool other_root = std::ranges::any_of(
      drives_, [&](const Drive& drive) { return drive.config.is_root_device && !same_id(drive); });
  if (config.is_root_device && other_root) {
    return base::fail(base::ErrorCode::kInvalidArgument,
                      "is_root_device: another drive is the root device already");
  }
  const uint16_t queues = wanted_queues();
  MOTE_TRY(auto device, virtio::blk::Device::create(config, loop_, queues));
  Drive drive{config, std::move(device), queues};
  const auto existing = std::ranges::find_if(drives_, same_id);
  if (existing != drives_.end() && existing->config.is_root_device == config.is_root_device) {
    *existing = std::move(drive);
    return done();
  }
  if (existing != drives_.end()) drives_.erase(existing);
  // The root device is always the first disk, /dev/vda.
  drives_.insert(config.is_root_device ? drives_.begin() : drives_.end(), std::move(drive));
  return done();
}

Reply Controller::handle(const PatchDrive& action) {
  MOTE_TRY_VOID(require_started());
  const auto drive = std::ranges::find_if(
      drives_, [&](const Drive& d) { return d.config.drive_id == action.patch.drive_id; });
  if (drive == drives_.end()) {
    return base::fail(base::ErrorCode::kNotFound,
                      "drive_id: there is no drive " + action.patch.drive_id);
  }
  if (action.patch.path_on_host) {
    MOTE_TRY_VOID(drive->device->update_path(*action.patch.path_on_host));
    drive->config.path_on_host = action.patch.path_on_host;
  }
  if (action.patch.rate_limiter) {
    drive->device->update_rate_limiter(*action.patch.rate_limiter);
    drive->config.rate_limiter = action.patch.rate_limiter;
  }
  return done();
}

Reply Controller::handle(const PutNetworkInterface& action) {
  MOTE_TRY_VOID(require_not_started());
  const auto& config = action.config;
  for (const NetworkInterface& nic : network_interfaces_) {
    if (nic.config.iface_id == config.iface_id) continue;
    if (nic.config.host_dev_name == config.host_dev_name) {
      return base::fail(
          base::ErrorCode::kInvalidArgument,
          "host_dev_name: " + config.host_dev_name + " is in use by " + nic.config.iface_id);
    }
    if (config.guest_mac && nic.config.guest_mac == config.guest_mac) {
      return base::fail(base::ErrorCode::kInvalidArgument,
                        "guest_mac: the address is in use by " + nic.config.iface_id);
    }
  }
  // A TAP can be open only once, so the one that is replaced is closed first.
  std::erase_if(network_interfaces_, [&](const NetworkInterface& nic) {
    return nic.config.iface_id == config.iface_id;
  });
  const uint16_t pairs = wanted_queues();
  MOTE_TRY(auto device, virtio::net::Device::create(config, loop_, pairs));
  network_interfaces_.push_back({config, std::move(device), pairs});
  return done();
}

Reply Controller::handle(const PatchNetworkInterface& action) {
  MOTE_TRY_VOID(require_started());
  const auto nic = std::ranges::find_if(network_interfaces_, [&](const NetworkInterface& n) {
    return n.config.iface_id == action.patch.iface_id;
  });
  if (nic == network_interfaces_.end()) {
    return base::fail(base::ErrorCode::kNotFound,
                      "iface_id: there is no network interface " + action.patch.iface_id);
  }
  nic->device->update_rate_limiters(action.patch);
  if (action.patch.rx_rate_limiter) nic->config.rx_rate_limiter = action.patch.rx_rate_limiter;
  if (action.patch.tx_rate_limiter) nic->config.tx_rate_limiter = action.patch.tx_rate_limiter;
  return done();
}

Reply Controller::handle(const PutLogger& action) {
  LoggerConfig merged = logger_.value_or(LoggerConfig{});
  const LoggerConfig& given = action.config;
  if (given.log_path) merged.log_path = given.log_path;
  if (given.level) merged.level = given.level;
  if (given.show_level) merged.show_level = given.show_level;
  if (given.show_log_origin) merged.show_log_origin = given.show_log_origin;
  if (given.module) merged.module = given.module;
  MOTE_TRY_VOID(base::log::configure({.path = merged.log_path.value_or(""),
                                      .instance_id = options_.instance_id,
                                      .module = merged.module.value_or(""),
                                      .level = merged.level.value_or(base::log::Level::kInfo),
                                      .show_level = merged.show_level.value_or(false),
                                      .show_origin = merged.show_log_origin.value_or(false)}));
  logger_ = std::move(merged);
  return done();
}

Reply Controller::handle(const PutMetrics& action) {
  MOTE_TRY_VOID(metrics_.open(action.config.metrics_path));
  metrics_config_ = action.config;
  arm_metrics_timer();
  return done();
}

Reply Controller::handle(const PutSerial& action) {
  MOTE_TRY_VOID(require_not_started());
  serial_ = action.config;
  return done();
}

Reply Controller::handle(const FlushMetrics&) {
  if (!metrics_.is_open()) {
    return base::fail(base::ErrorCode::kWrongState,
                      "metrics_path: no metrics file is set (PUT /metrics)");
  }
  return as_reply(metrics_.flush([this](MetricsLine& line) { collect_metrics(line); }));
}

Reply Controller::handle(const SendCtrlAltDel&) {
  MOTE_TRY_VOID(require_started());
  vm_->send_ctrl_alt_del();
  return done();
}

// A pause of a running VM is asynchronous (see pause()); here the VM is paused already or not
// started.
Reply Controller::handle(const PauseVm&) {
  return as_reply(require_started());
}

Reply Controller::handle(const ResumeVm&) {
  MOTE_TRY_VOID(require_started());
  const uint64_t start_us = base::monotonic_us();
  if (state_ == VmState::kPaused) resume_soon();
  state_ = VmState::kRunning;
  resume_us_ = base::monotonic_us() - start_us;
  return done();
}

// Never comes here: see create_snapshot().
Reply Controller::handle(const CreateSnapshot&) {
  return as_reply(require_started());
}

void Controller::resume_soon() {
  resume_due_ = true;
  loop_.post([this] {
    if (std::exchange(resume_due_, false) && vm_ != nullptr) vm_->resume();
  });
}

void Controller::pause(ReplyCallback reply) {
  resume_due_ = false;
  const uint64_t start_us = base::monotonic_us();
  vm_->pause([this, start_us, answer = std::move(reply)]() mutable {
    state_ = VmState::kPaused;
    vm_->serial().flush();  // What the guest said before is seen before.
    pause_us_ = base::monotonic_us() - start_us;
    finish(Action(PauseVm{}).index(), answer, NoContent{});
    run_next();
  });
}

uint16_t Controller::wanted_queues() const {
  return std::min<uint16_t>(machine_.vcpu_count, kMaxQueues);
}

base::Result<> Controller::match_queues_to_vcpus() {
  // Devices were made when they were named; the number of vCPUs may have been set later.
  const uint16_t queues = wanted_queues();
  for (Drive& drive : drives_) {
    if (drive.queue_count == queues) continue;
    MOTE_TRY(drive.device, virtio::blk::Device::create(drive.config, loop_, queues));
    drive.queue_count = queues;
  }
  for (NetworkInterface& nic : network_interfaces_) {
    if (nic.queue_pairs == queues) continue;
    nic.device.reset();
    MOTE_TRY(nic.device, virtio::net::Device::create(nic.config, loop_, queues));
    nic.queue_pairs = queues;
  }
  return {};
}

base::Result<std::unique_ptr<legacy::SerialOutput>> Controller::open_serial_output() const {
  if (!serial_ || !serial_->serial_out_path) return legacy::FdSerialOutput::standard_output();
  return legacy::FdSerialOutput::open(*serial_->serial_out_path);
}

Reply Controller::handle(const InstanceStart&) {
  BootPhases& phases = options_.phases;
  phases.instance_start_us = base::monotonic_us();
  phases.instance_start_cpu_us = base::process_cpu_us();
  MOTE_TRY_VOID(require_not_started());
  if (!boot_source_) {
    return base::fail(base::ErrorCode::kWrongState,
                      "kernel_image_path: no boot source is set (PUT /boot-source)");
  }
  if (!host_.kvm()) return std::unexpected(host_.kvm().error());
  MOTE_TRY_VOID(match_queues_to_vcpus());
  attach_mmds();
  const VmConfig config = whole_config();
  MOTE_TRY(auto serial_output, open_serial_output());
  BuildInputs inputs{
      config, host_, options_.kernel_cache, options_.boot_timer, {}, std::move(serial_output)};
  for (const Drive& drive : drives_) inputs.devices.push_back(drive.device.get());
  for (const NetworkInterface& nic : network_interfaces_)
    inputs.devices.push_back(nic.device.get());
  MOTE_TRY(vm_, VmBuilder::build(std::move(inputs), loop_, *this));
  show_waiting_console_output();
  phases.vcpu_run_us = base::monotonic_us();
  if (auto started = vm_->start(Vcpu::Begin::kRunning, options_.vcpu_filter); !started) {
    vm_.reset();
    return std::unexpected(std::move(started).error());
  }
  if (!serial_ || !serial_->serial_out_path) {
    console_ = std::make_unique<ConsoleInput>(loop_, vm_->serial());
  }
  state_ = VmState::kRunning;
  LOG_INFO("VM started: {} vCPU(s), {} MiB, built in {} us", machine_.vcpu_count,
           machine_.mem_size_mib, phases.vcpu_run_us - phases.instance_start_us);
  return done();
}

void Controller::show_waiting_console_output() {
  vm_->serial().on_waiting_output(
      [this] { loop_.post([this] { console_timer_.arm(kConsoleDelayNs); }); });
}

void Controller::on_guest_shutdown() {
  LOG_INFO("the guest shut down");
  shut_down(ExitCode::kOk);
}

void Controller::on_fatal_error(const std::string& reason) {
  LOG_ERROR("{}", reason);
  shut_down(ExitCode::kFatalVmError);
}

void Controller::on_boot_timer(uint64_t monotonic_us, uint64_t cpu_us) {
  BootPhases& phases = options_.phases;
  phases.guest_init_us = monotonic_us;
  const uint64_t wall_us = monotonic_us - phases.instance_start_us;
  const uint64_t used_us = cpu_us - phases.instance_start_cpu_us;
  LOG_INFO("Guest-boot-time = {:>6} us {} ms, {:>6} CPU us {} CPU ms", wall_us, wall_us / 1000,
           used_us, used_us / 1000);
  flush_metrics();
}

void Controller::shut_down(ExitCode code) {
  if (exit_code_) return;
  exit_code_ = code;
  auto finish_up = [this] {
    flush_metrics();
    loop_.stop();
  };
  if (vm_ == nullptr) return finish_up();
  vm_->shut_down(std::move(finish_up));
}

void Controller::arm_metrics_timer() {
  metrics_timer_.arm(kMetricsPeriodNs);
}

void Controller::flush_metrics() {
  const auto outcome = metrics_.flush([this](MetricsLine& line) { collect_metrics(line); });
  if (!outcome) LOG_WARNING("metrics: {}", outcome.error().message());
}

}  // namespace mote::monitor
