#include "devices/legacy/ioapic.h"

#include <algorithm>
#include <cstring>

namespace mote::legacy {
namespace {

constexpr uint64_t kSelectOffset = 0x00;
constexpr uint64_t kWindowOffset = 0x10;
constexpr uint8_t kIdRegister = 0;
constexpr uint8_t kVersionRegister = 1;
constexpr uint8_t kArbitrationRegister = 2;
constexpr uint8_t kFirstRedirection = 0x10;
constexpr uint32_t kVersion = 0x11;  // 82093AA: no EOI register, KVM tells of EOIs instead.

constexpr uint64_t kMasked = uint64_t{1} << 16;
constexpr uint64_t kLevel = uint64_t{1} << 15;
constexpr uint64_t kRemoteIrr = uint64_t{1} << 14;
constexpr uint64_t kReadOnly = kRemoteIrr | uint64_t{1} << 12;  // And delivery status.
constexpr uint64_t kWritable = 0xff00'0000'0001'ffff & ~kReadOnly;

constexpr uint64_t kMsiAddressBase = 0xfee00000;

}  // namespace

InterruptRoute decode_redirection(uint32_t pin, uint64_t entry) {
  const uint64_t vector = entry & 0xff;
  const uint64_t delivery_mode = (entry >> 8) & 7;
  const uint64_t logical = (entry >> 11) & 1;
  const uint64_t level = (entry >> 15) & 1;
  const uint64_t destination = entry >> 56;
  InterruptRoute route;
  route.pin = pin;
  route.address = kMsiAddressBase | destination << 12 | logical << 2;
  route.data = static_cast<uint32_t>(vector | delivery_mode << 8 | level << 15 | level << 14);
  route.masked = (entry & kMasked) != 0;
  return route;
}

IoApic::IoApic(RouteSink& sink) : sink_(sink) {
  state_.redirection.fill(kMasked);
}

void IoApic::read(uint64_t offset, std::span<std::byte> data) {
  uint32_t value = 0;
  {
    const std::scoped_lock lock(mutex_);
    if (offset == kSelectOffset) value = state_.selected;
    if (offset == kWindowOffset) value = read_register();
  }
  std::ranges::fill(data, std::byte{0});
  std::memcpy(data.data(), &value, std::min(data.size(), sizeof(value)));
}

void IoApic::write(uint64_t offset, std::span<const std::byte> data) {
  uint32_t value = 0;
  std::memcpy(&value, data.data(), std::min(data.size(), sizeof(value)));
  const std::scoped_lock lock(mutex_);
  if (offset == kSelectOffset) state_.selected = static_cast<uint8_t>(value);
  if (offset == kWindowOffset) write_register(value);
}

uint32_t IoApic::read_register() const {
  const uint8_t selected = state_.selected;
  if (selected == kIdRegister || selected == kArbitrationRegister) return uint32_t{state_.id} << 24;
  if (selected == kVersionRegister) return kVersion | (kPins - 1) << 16;
  if (selected < kFirstRedirection || selected >= kFirstRedirection + 2 * kPins) return 0;
  const uint64_t entry = state_.redirection[(selected - kFirstRedirection) / 2];
  return static_cast<uint32_t>((selected & 1) != 0 ? entry >> 32 : entry);
}

void IoApic::write_register(uint32_t value) {
  const uint8_t selected = state_.selected;
  if (selected == kIdRegister) state_.id = (value >> 24) & 0xf;
  if (selected < kFirstRedirection || selected >= kFirstRedirection + 2 * kPins) return;
  const uint32_t pin = (selected - kFirstRedirection) / 2U;
  uint64_t& entry = state_.redirection[pin];
  const uint64_t before = entry;
  if ((selected & 1) != 0) {
    entry = (entry & 0xffffffff) | (uint64_t{value} << 32 & kWritable);
  } else {
    entry = (entry & ~uint64_t{0xffffffff}) | (value & kWritable) | (before & kReadOnly);
    if ((entry & kLevel) == 0) entry &= ~kRemoteIrr;
  }
  // A masked pin has no route, so what changes beneath the mask is nobody's business yet.
  const bool stays_masked = (before & kMasked) != 0 && (entry & kMasked) != 0;
  if (entry != before && !stays_masked) announce(pin);
}

void IoApic::announce(uint32_t pin) {
  sink_.update(decode_redirection(pin, state_.redirection[pin]));
}

void IoApic::end_of_interrupt(uint8_t vector) {
  const std::scoped_lock lock(mutex_);
  for (uint64_t& entry : state_.redirection) {
    if ((entry & 0xff) == vector && (entry & kLevel) != 0) entry &= ~kRemoteIrr;
  }
}

IoApic::State IoApic::save() const {
  const std::scoped_lock lock(mutex_);
  return state_;
}

void IoApic::restore(const State& state) {
  const std::scoped_lock lock(mutex_);
  state_ = state;
  std::array<InterruptRoute, kPins> routes;
  for (uint32_t pin = 0; pin < kPins; ++pin) {
    routes[pin] = decode_redirection(pin, state_.redirection[pin]);
  }
  sink_.update_all(routes);
}

}  // namespace mote::legacy
