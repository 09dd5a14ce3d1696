#pragma once
// One TCP connection that a guest opened, from the server's side (RFC 9293), as little as a peer on
// the same wire needs: segments are taken in order only, unacknowledged ones are sent again after a
// time that doubles, and there is no congestion window. Pure: segments in, segments out, the time
// as a number. Memory is bounded by kReceiveBytes and by what send() was given.

#include <cstdint>
#include <optional>
#include <string>

#include "devices/mmds/packet.h"

namespace mote::mmds {

class TcpConnection final {
 public:
  /// Received and not yet consumed bytes at most: the window we offer.
  static constexpr uint16_t kReceiveBytes = 12 * 1024;
  /// The first wait for an acknowledgment, and how often we send again before we give up.
  static constexpr uint64_t kFirstTimeoutNs = 200'000'000;
  static constexpr uint32_t kMaxTimeouts = 6;

  /// For a guest's SYN. `initial_sequence` is our first sequence number.
  TcpConnection(const Segment& syn, uint32_t initial_sequence);

  /// A segment of this connection. Its payload is copied.
  void receive(const Segment& segment, uint64_t now_ns);
  /// True for a repetition of the SYN that opened the connection; another SYN is a new one.
  [[nodiscard]] bool opened_by(const Segment& syn) const {
    return syn.sequence == receive_next_ - 1 && !established_;
  }

  /// What the guest sent, in order. The owner takes bytes off its front.
  [[nodiscard]] std::string& input() { return input_; }
  /// The guest will send no more.
  [[nodiscard]] bool peer_finished() const { return peer_finished_; }
  /// All that was given to send() is acknowledged.
  [[nodiscard]] bool output_empty() const { return output_.empty(); }
  /// Sends `bytes`; only while output_empty() and before close().
  void send(std::string bytes);
  /// Says FIN behind what was given to send().
  void close() { close_wanted_ = true; }
  /// Nothing is left to do: ended by both sides, reset, or given up.
  [[nodiscard]] bool finished() const {
    return over_ || (fin_acknowledged_ && peer_finished_ && !acknowledgment_due_);
  }

  /// The next segment to be sent now, if any; its payload is valid until the next call.
  [[nodiscard]] std::optional<Segment> next(uint64_t now_ns);
  /// When on_deadline() is due, on the clock of `now_ns`; 0: never.
  [[nodiscard]] uint64_t deadline_ns() const { return over_ ? 0 : deadline_ns_; }
  /// Sends again what was not acknowledged in time. Does nothing before the deadline.
  void on_deadline(uint64_t now_ns);

 private:
  [[nodiscard]] bool take_acknowledgment(const Segment& segment, uint64_t now_ns);
  void take_payload(const Segment& segment);
  [[nodiscard]] uint16_t window() const {
    return static_cast<uint16_t>(kReceiveBytes - input_.size());
  }
  [[nodiscard]] bool window_opened() const;
  [[nodiscard]] Segment emit(uint8_t flags, std::string_view payload);
  void arm(uint64_t now_ns);

  std::string input_;
  std::string output_;  ///< From `output_start_` on; kept until all of it is acknowledged.

  // Sequence numbers; differences are taken modulo 2^32.
  uint32_t initial_sequence_;
  uint32_t output_start_;
  uint32_t unacknowledged_;  ///< The oldest one that the guest may not have.
  uint32_t send_next_;       ///< Steps back to `unacknowledged_` when something is sent again.
  uint32_t send_max_;        ///< One past the last that was ever sent.
  uint32_t receive_next_;
  uint32_t window_edge_;  ///< One past the last that the guest knows it may send.

  uint16_t peer_window_ = 0;
  uint16_t segment_bytes_;  ///< The guest's MSS, and never more than ours.
  bool established_ = false;
  bool peer_finished_ = false;
  bool close_wanted_ = false;
  bool fin_acknowledged_ = false;
  bool acknowledgment_due_ = false;
  bool probe_due_ = false;  ///< One byte may go out although the guest's window is closed.
  bool over_ = false;
  uint32_t timeouts_ = 0;
  uint64_t deadline_ns_ = 0;
};

}  // namespace mote::mmds
