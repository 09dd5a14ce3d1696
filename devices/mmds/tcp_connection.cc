#include "devices/mmds/tcp_connection.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace mote::mmds {
namespace {

/// RFC 9293 section 3.7.1: what a peer takes that does not say. The floor keeps a hostile one from
/// having an answer cut into single bytes.
constexpr uint16_t kDefaultMss = 536;
constexpr uint16_t kMinMss = 88;

uint16_t segment_bytes_for(uint16_t mss) {
  return std::clamp(mss == 0 ? kDefaultMss : mss, kMinMss, kMaxSegmentBytes);
}

}  // namespace

TcpConnection::TcpConnection(const Segment& syn, uint32_t initial_sequence)
    : initial_sequence_(initial_sequence),
      output_start_(initial_sequence + 1),
      unacknowledged_(initial_sequence),
      send_next_(initial_sequence),
      send_max_(initial_sequence),
      receive_next_(syn.sequence + 1),
      window_edge_(receive_next_),
      segment_bytes_(segment_bytes_for(syn.mss)) {}

void TcpConnection::receive(const Segment& segment, uint64_t now_ns) {
  if (over_) return;
  if (segment.has(kRst)) {
    // RFC 5961 section 3.2: only at the exact place; another one is no news of this connection.
    if (segment.sequence == receive_next_) over_ = true;
    return;
  }
  if (segment.has(kSyn)) {
    // Our answer was lost.
    if (opened_by(segment)) send_next_ = initial_sequence_;
    return;
  }
  if (!segment.has(kAck) || !take_acknowledgment(segment, now_ns)) return;
  if (segment.length() > 0) take_payload(segment);
}

/// False when the segment acknowledges what was never sent.
bool TcpConnection::take_acknowledgment(const Segment& segment, uint64_t now_ns) {
  const uint32_t acknowledged = segment.acknowledgment - unacknowledged_;
  if (acknowledged > send_max_ - unacknowledged_) {
    const bool old = static_cast<int32_t>(acknowledged) < 0;
    acknowledgment_due_ = established_ && !old;
    return established_ && old;
  }
  if (!established_ && acknowledged == 0) return false;
  established_ = true;
  unacknowledged_ = segment.acknowledgment;
  if (static_cast<int32_t>(send_next_ - unacknowledged_) < 0) send_next_ = unacknowledged_;
  peer_window_ = segment.window;
  if (acknowledged > 0) timeouts_ = 0;
  if (unacknowledged_ == send_max_) {
    deadline_ns_ = 0;
  } else if (acknowledged > 0) {
    arm(now_ns);
  }
  if (unacknowledged_ - output_start_ >= output_.size()) {
    output_start_ += static_cast<uint32_t>(output_.size());
    output_.clear();
    // Only a FIN stands behind the last byte.
    fin_acknowledged_ = unacknowledged_ == output_start_ + 1;
  }
  return true;
}

void TcpConnection::take_payload(const Segment& segment) {
  acknowledgment_due_ = true;
  const uint32_t known = receive_next_ - segment.sequence;
  // Out of order, or all of it is here already.
  if (peer_finished_ || known > segment.payload.size()) return;
  const auto fresh = segment.payload.subspan(known);
  const size_t taken = std::min<size_t>(fresh.size(), window());
  input_.append(reinterpret_cast<const char*>(fresh.data()), taken);
  receive_next_ += static_cast<uint32_t>(taken);
  if (taken < fresh.size() || !segment.has(kFin)) return;
  peer_finished_ = true;
  ++receive_next_;
}

void TcpConnection::send(std::string bytes) {
  CHECK(output_.empty() && !close_wanted_, "sent before the last answer was taken");
  output_ = std::move(bytes);
}

std::optional<Segment> TcpConnection::next(uint64_t now_ns) {
  if (over_) return std::nullopt;
  if (!established_) {
    if (send_next_ != initial_sequence_) return std::nullopt;
    Segment answer = emit(kSyn | kAck, {});
    answer.mss = kMaxSegmentBytes;
    arm(now_ns);
    return answer;
  }
  const size_t sent = send_next_ - output_start_;
  const size_t left = sent < output_.size() ? output_.size() - sent : 0;
  const uint32_t in_flight = send_next_ - unacknowledged_;
  size_t room = peer_window_ > in_flight ? peer_window_ - in_flight : 0;
  if (std::exchange(probe_due_, false) && room == 0) room = 1;
  const size_t bytes = std::min({left, room, size_t{segment_bytes_}});
  const bool fin = close_wanted_ && bytes == left && sent + bytes == output_.size();
  if (bytes > 0 || fin) {
    const bool last = bytes == left;
    const auto payload = std::string_view(output_).substr(std::min(sent, output_.size()), bytes);
    if (deadline_ns_ == 0) arm(now_ns);
    return emit(static_cast<uint8_t>(kAck | (last && bytes > 0 ? kPsh : 0) | (fin ? kFin : 0)),
                payload);
  }
  // The guest's window is closed: ask from time to time whether it is open again.
  if (left > 0 && in_flight == 0 && deadline_ns_ == 0) arm(now_ns);
  if (acknowledgment_due_ || window_opened()) return emit(kAck, {});
  return std::nullopt;
}

/// The guest believes that there is little room, and there is much.
bool TcpConnection::window_opened() const {
  return window_edge_ - receive_next_ < kReceiveBytes / 2 && window() >= kReceiveBytes / 2;
}

Segment TcpConnection::emit(uint8_t flags, std::string_view payload) {
  Segment segment{.sequence = send_next_,
                  .acknowledgment = receive_next_,
                  .window = window(),
                  .flags = flags,
                  .payload = std::as_bytes(std::span(payload))};
  send_next_ += segment.length();
  if (static_cast<int32_t>(send_next_ - send_max_) > 0) send_max_ = send_next_;
  window_edge_ = receive_next_ + segment.window;
  acknowledgment_due_ = false;
  return segment;
}

void TcpConnection::arm(uint64_t now_ns) {
  deadline_ns_ = now_ns + (kFirstTimeoutNs << timeouts_);
}

void TcpConnection::on_deadline(uint64_t now_ns) {
  if (over_ || deadline_ns_ == 0 || now_ns < deadline_ns_) return;
  deadline_ns_ = 0;
  if (++timeouts_ > kMaxTimeouts) {
    over_ = true;
    return;
  }
  send_next_ = unacknowledged_;
  probe_due_ = true;
}

}  // namespace mote::mmds
