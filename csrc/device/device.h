// One GPU: scalars that are still on it, on their way into host memory.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/element.h"
#include "device/append_entry.h"
#include "device/driver_api.h"
#include "device/landing_slot.h"

namespace ringmeter {

// A one-element tensor on a device. Without a source: the device's clock, in nanoseconds.
struct DeviceScalar {
  DevicePointer source;
  ElementType type;
};

// For whom a value is. `land` is called once it has landed, by any thread, under the device's lock, perhaps
// without the GIL: it must not throw, wait, or call anything of the device. Null: nobody wants the value.
struct Receiver {
  void (*land)(void* owner, std::uint64_t position, const Number& value);
  void* owner;
  std::uint64_t position;
};

// How often the device has copied a captured scalar, and what of. Without NaNs, but for `last`.
struct ReplayTotals {
  std::uint64_t count = 0;
  std::uint64_t nans = 0;
  double sum = 0.0;
  double minimum = 0.0;
  double maximum = 0.0;
  Number last;
};

// Any thread may call anything but where it says otherwise. Invariants:
//  1. launch() never waits for the device: it enqueues a kernel that copies the scalars as they are at that
//  point of the stream. The sources may be freed or overwritten, in stream order, as soon as it returns.
//  2. Values land in the order of the launches, whatever the streams; each lands once.
//  3. A slot is given to the device again only after its value was taken out of it and its owner released.
//  4. A captured scalar lands once for each replay, or is counted as lost: nothing can hold a replay back.
//  5. Once the device has failed, launch() throws and what had landed can still be taken.
// Memory and modules are never freed: at exit the driver may be gone first, and graphs hold their addresses.
class Device {
 public:
  struct Sizes {
    unsigned log2_slots = 16;        // of what is launched
    unsigned log2_graph_slots = 16;  // of what replays write
    unsigned log2_nodes = 14;        // scalars that can ever be captured
    std::uint64_t first = 0;         // numbers begin here, a multiple of the number of slots
  };

  // `ordinal` counts as CUDA_VISIBLE_DEVICES does. Initialises the device, which takes tens of milliseconds,
  // and proves that a value lands. `driver` must outlive the device. Throws DriverError, std::bad_alloc.
  Device(const DriverApi& driver, int ordinal, Sizes sizes);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // ---- outside of a capture ----

  // Whether what is launched on the stream now becomes part of a graph. Throws DriverError when that is not
  // to be known, or the capture has been invalidated.
  bool is_capturing(DriverStream stream) const;

  // Enqueues copies of `n` <= kMostEntries scalars in one launch and gives the number of the first. False,
  // and nothing has happened, when there is no room for them: drain() and release() first. Throws
  // DriverError, and nothing has happened. Must be followed by commit() for each, soon: what was launched
  // later lands after it.
  bool launch(const DeviceScalar* scalars, std::size_t n, DriverStream stream, std::uint64_t* first);
  void commit(std::uint64_t number, const Receiver& receiver);

  // Whether a launch may have to wait for the driver's queue. Then it, and drain(), must not hold a lock that
  // work on the device may need, such as the GIL.
  bool is_congested() const { return enqueued() - drained() > kCongested; }

  // ---- inside of a capture ----

  // Registers a scalar to be captured; the receiver gets a value for each replay, for ever. Throws
  // DriverError when there are too many, std::bad_alloc.
  std::uint32_t add_node(ElementType type, const Receiver& receiver);
  // Captures copies of `n` <= kMostEntries scalars, each to a node. Throws DriverError.
  void capture(const DeviceScalar* scalars, const std::uint32_t* nodes, std::size_t n, DriverStream stream);
  ReplayTotals totals(std::uint32_t node) const;
  // When this is launched, and lands, everything has landed that replays had written before it in its stream,
  // and nothing that any wrote after it. Its value means nothing else.
  DeviceScalar replay_mark() const { return {counter_, ElementType::kUInt64}; }
  // Values of the node that were overwritten before drain() came by, as far as it has come.
  std::uint64_t lost(std::uint32_t node) const;

  // ---- landing ----

  // Hands what has landed to its receivers. Makes no call to the driver. Returns whether there was anything;
  // false too when another thread is at it and `may_wait` is false.
  bool drain(bool may_wait = true);

  // Calls free(owner) for what has landed: as many as a batch holds, until false.
  bool release(void (*free)(void* owner));

  // The number of the first value, and that after the newest launched, and landed.
  std::uint64_t first() const { return first_; }
  std::uint64_t enqueued() const { return head_.load(std::memory_order_acquire); }
  std::uint64_t drained() const { return tail_.load(std::memory_order_acquire); }
  bool has_room(std::size_t n) const;

  // Asks the device whether it has failed, which no queue makes wait. Throws DriverError if so.
  void check();

 private:
  struct InFlight {
    Receiver receiver;
    ElementType type;
    bool is_mark;
    std::atomic<bool> is_committed{false};
  };
  struct Node {
    Receiver receiver;
    ElementType type;
    std::uint32_t taken = 0;  // its run whose value was taken last, modulo 2^32
    std::uint64_t lost = 0;
  };

  static constexpr std::uint64_t kCongested = 256;

  void initialise(int ordinal);
  void* host_memory(std::size_t bytes, DevicePointer* device_address);
  void prove();
  void launch(DriverFunction function, void* parameters, std::size_t n, DriverStream stream) const;
  bool drain_launched();
  bool drain_replayed(std::uint64_t end);
  bool take(const Node& node, std::uint32_t run, std::uint64_t bits);
  AppendEntry entry(std::uint64_t number, const DeviceScalar& scalar) const;
  std::uint64_t slot_count() const { return std::uint64_t{1} << sizes_.log2_slots; }
  std::uint64_t graph_slot_count() const { return std::uint64_t{1} << sizes_.log2_graph_slots; }
  LandingSlot& slot(std::uint64_t number) const { return slots_[number & (slot_count() - 1)]; }
  InFlight& in_flight(std::uint64_t number) const { return in_flight_[number & (slot_count() - 1)]; }

  // Set once by the constructor.
  const DriverApi& driver_;
  const Sizes sizes_;
  std::uint64_t first_ = 0;
  DriverContext context_ = nullptr;
  DriverFunction append_one_ = nullptr;
  DriverFunction append_many_ = nullptr;
  DriverFunction append_graph_ = nullptr;
  DriverStream private_stream_ = nullptr;  // nobody else's: it may be queried at any time
  LandingSlot* slots_ = nullptr;           // pinned, mapped into the device, as the two below
  GraphSlot* graph_slots_ = nullptr;
  TotalsSlot* shown_ = nullptr;     // by node
  DevicePointer device_slots_ = 0;  // the same three, as the device sees them
  DevicePointer device_graph_slots_ = 0;
  DevicePointer device_shown_ = 0;
  DevicePointer counter_ = 0;              // in device memory, NodeTotals behind it
  std::unique_ptr<InFlight[]> in_flight_;  // by number modulo slot_count()

  mutable std::mutex mutex_;
  // Written under the mutex, read by anyone.
  std::atomic<std::uint64_t> head_;
  std::atomic<std::uint64_t> tail_;
  std::atomic<DriverResult> failure_{kSuccess};  // the error after which nothing works any more
  // Under the mutex.
  std::uint64_t released_;
  std::uint64_t graph_tail_ = 0;
  std::uint64_t marks_ = 0;  // in flight: replays must not be drained beyond them
  std::vector<Node> nodes_;
};

}  // namespace ringmeter
