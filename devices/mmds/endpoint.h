#pragma once
// The metadata address on one interface: takes a guest's frames, hands out ours. Frames to be sent
// are made when they are asked for, so that none is ever stored: memory is bounded by the number of
// connections. Pure but for the Service it asks; event-loop thread.

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "devices/mmds/http_session.h"
#include "devices/mmds/packet.h"
#include "devices/mmds/service.h"
#include "devices/mmds/tcp_connection.h"

namespace mote::mmds {

class Endpoint final {
 public:
  static constexpr uint16_t kPort = 80;
  static constexpr size_t kMaxConnections = 30;
  /// Frames longer than this are not read: no window of ours lets a guest send as much.
  static constexpr size_t kMaxReceivedBytes = 16 * 1024;

  /// `service` outlives the endpoint, and is configured already.
  explicit Endpoint(Service& service);

  /// True for the frames that are ours; see mmds::is_for().
  [[nodiscard]] bool takes(std::span<const std::byte> front) const {
    return is_for(front, own_address_);
  }
  /// A frame that takes() said yes to: bytes that the guest can no longer change.
  void receive(std::span<const std::byte> frame, Checksum checksum, uint64_t now_ns);

  /// Writes the next frame to be sent now into `frame` (at least kMaxFrameBytes) and gives its
  /// length; 0 when there is none.
  [[nodiscard]] size_t next_frame(std::span<std::byte> frame, uint64_t now_ns);

  /// When on_deadline() is due, on the clock of `now_ns`; 0: never.
  [[nodiscard]] uint64_t deadline_ns() const;
  /// Lets connections send again what was lost; next_frame() may have something afterwards.
  void on_deadline(uint64_t now_ns);

  [[nodiscard]] size_t connection_count() const { return connections_.size(); }

 private:
  struct Connection {
    Peer peer;
    TcpConnection tcp;
    HttpSession http;
    uint64_t heard_ns;  ///< When its last segment came.
  };
  /// The answer to a segment that belongs to nothing (RFC 9293 section 3.5.2).
  struct Refusal {
    Peer peer;
    uint16_t own_port;
    Segment segment;
  };

  void receive_tcp(const Received& received, uint64_t now_ns);
  [[nodiscard]] Connection* find(const Peer& peer);
  void open(const Received& received, uint64_t now_ns);
  [[nodiscard]] bool make_room(uint64_t now_ns);
  void refuse(const Received& received);
  void forget_finished();
  [[nodiscard]] size_t write_frame(std::span<std::byte> frame, uint64_t now_ns);

  Service& service_;
  const Ipv4 own_address_;
  std::optional<ArpFrame> arp_reply_;
  std::deque<Refusal> refusals_;
  std::vector<Connection> connections_;
  size_t turn_ = 0;  ///< The connection that may send next.
};

}  // namespace mote::mmds
