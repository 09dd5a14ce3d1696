#include "devices/mmds/endpoint.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace mote::mmds {
namespace {

constexpr size_t kMaxRefusals = 16;
/// A connection that was silent for so long gives way to a new one when there are too many.
constexpr uint64_t kIdleNs = 1'000'000'000;
/// Our sequence numbers start where a clock stands that ticks every 4 us (RFC 9293 section 3.4.1).
constexpr uint64_t kSequenceTickNs = 4000;

}  // namespace

Endpoint::Endpoint(Service& service)
    : service_(service), own_address_(service.config().ipv4_address) {}

void Endpoint::receive(std::span<const std::byte> frame, Checksum checksum, uint64_t now_ns) {
  Metrics& metrics = service_.metrics();
  ++metrics.rx_accepted;
  if (const auto reply = answer_arp(frame, kOwnMac, own_address_)) {
    arp_reply_ = reply;
    return;
  }
  const auto received = parse_tcp(frame, checksum, own_address_);
  if (!received) {
    ++metrics.rx_accepted_err;
    return;
  }
  receive_tcp(*received, now_ns);
  forget_finished();
}

void Endpoint::receive_tcp(const Received& received, uint64_t now_ns) {
  const Segment& segment = received.segment;
  Connection* const connection = received.own_port == kPort ? find(received.from) : nullptr;
  const bool opens = segment.has(kSyn) && !segment.has(kAck) && !segment.has(kRst);
  if (opens && received.own_port == kPort &&
      (connection == nullptr || !connection->tcp.opened_by(segment))) {
    return open(received, now_ns);
  }
  if (connection == nullptr) {
    ++service_.metrics().rx_accepted_unusual;
    return refuse(received);
  }
  connection->heard_ns = now_ns;
  connection->peer.mac = received.from.mac;
  connection->tcp.receive(segment, now_ns);
  connection->http.serve(connection->tcp, service_, now_ns);
}

Endpoint::Connection* Endpoint::find(const Peer& peer) {
  const auto found = std::ranges::find_if(connections_, [&](const Connection& connection) {
    return connection.peer.port == peer.port && connection.peer.address == peer.address;
  });
  return found == connections_.end() ? nullptr : &*found;
}

void Endpoint::open(const Received& received, uint64_t now_ns) {
  // A guest that starts a connection anew has forgotten the old one.
  if (const Connection* const old = find(received.from)) {
    connections_.erase(connections_.begin() + (old - connections_.data()));
    ++service_.metrics().connections_destroyed;
  }
  if (!make_room(now_ns)) return refuse(received);
  const auto sequence = static_cast<uint32_t>(now_ns / kSequenceTickNs);
  connections_.push_back({received.from, TcpConnection(received.segment, sequence), {}, now_ns});
  ++service_.metrics().connections_created;
}

bool Endpoint::make_room(uint64_t now_ns) {
  if (connections_.size() < kMaxConnections) return true;
  const auto idlest = std::ranges::min_element(connections_, {}, &Connection::heard_ns);
  if (now_ns - idlest->heard_ns < kIdleNs) return false;
  connections_.erase(idlest);
  ++service_.metrics().connections_destroyed;
  return true;
}

void Endpoint::refuse(const Received& received) {
  const Segment& segment = received.segment;
  if (segment.has(kRst) || refusals_.size() >= kMaxRefusals) return;
  Segment reset{.flags = kRst};
  if (segment.has(kAck)) {
    reset.sequence = segment.acknowledgment;
  } else {
    reset.flags = kRst | kAck;
    reset.acknowledgment = segment.sequence + segment.length();
  }
  refusals_.push_back({received.from, received.own_port, reset});
}

void Endpoint::forget_finished() {
  service_.metrics().connections_destroyed += std::erase_if(
      connections_, [](const Connection& connection) { return connection.tcp.finished(); });
}

size_t Endpoint::next_frame(std::span<std::byte> frame, uint64_t now_ns) {
  CHECK(frame.size() >= kMaxFrameBytes, "too little room for a frame");
  const size_t bytes = write_frame(frame, now_ns);
  if (bytes > 0) ++service_.metrics().tx_frames;
  service_.metrics().tx_bytes += bytes;
  return bytes;
}

size_t Endpoint::write_frame(std::span<std::byte> frame, uint64_t now_ns) {
  if (arp_reply_) {
    std::memcpy(frame.data(), arp_reply_->data(), arp_reply_->size());
    arp_reply_.reset();
    return kArpFrameBytes;
  }
  if (!refusals_.empty()) {
    const Refusal refusal = refusals_.front();
    refusals_.pop_front();
    return build_tcp(frame, refusal.peer, kOwnMac, own_address_, refusal.own_port, refusal.segment);
  }
  for (size_t i = 0; i < connections_.size(); ++i) {
    Connection& connection = connections_[(turn_ + i) % connections_.size()];
    const auto segment = connection.tcp.next(now_ns);
    if (!segment) continue;
    turn_ = (turn_ + i + 1) % connections_.size();
    const size_t bytes = build_tcp(frame, connection.peer, kOwnMac, own_address_, kPort, *segment);
    forget_finished();
    return bytes;
  }
  return 0;
}

uint64_t Endpoint::deadline_ns() const {
  uint64_t earliest = 0;
  for (const Connection& connection : connections_) {
    const uint64_t deadline = connection.tcp.deadline_ns();
    if (deadline != 0 && (earliest == 0 || deadline < earliest)) earliest = deadline;
  }
  return earliest;
}

void Endpoint::on_deadline(uint64_t now_ns) {
  for (Connection& connection : connections_) connection.tcp.on_deadline(now_ns);
  forget_finished();
}

}  // namespace mote::mmds
