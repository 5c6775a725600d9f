#include "device/device.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <thread>

#include "device/append_ptx.h"
#include "device/context_guard.h"

namespace ringmeter {

namespace {

std::uint64_t joined(std::uint32_t low, std::uint32_t high) { return low | std::uint64_t{high} << 32; }

double as_double(std::uint32_t low, std::uint32_t high) {
  const std::uint64_t bits = joined(low, high);
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace

Device::Device(const DriverApi& driver, int ordinal, Sizes sizes)
    : driver_(driver),
      sizes_(sizes),
      in_flight_(new InFlight[std::size_t{1} << sizes.log2_slots]),
      head_(sizes.first),
      tail_(sizes.first),
      released_(sizes.first) {
  const RelaxedCaptureGuard relaxed(driver_);  // somebody may be capturing
  initialise(ordinal);
  prove();
  released_ = first_ = head_;
}

void* Device::host_memory(std::size_t bytes, DevicePointer* device_address) {
  void* memory = nullptr;
  driver_.check(driver_.cuMemHostAlloc(&memory, bytes, kHostAllocPortable | kHostAllocMapped),
                "cuMemHostAlloc");
  driver_.check(driver_.cuMemHostGetDevicePointer_v2(device_address, memory, 0), "cuMemHostGetDevicePointer");
  return memory;
}

void Device::initialise(int ordinal) {
  int device = 0;
  driver_.check(driver_.cuDeviceGet(&device, ordinal), "cuDeviceGet");
  // The context that torch uses.
  driver_.check(driver_.cuDevicePrimaryCtxRetain(&context_, device), "cuDevicePrimaryCtxRetain");
  const ContextGuard guard(driver_, context_);
  DriverModule module = nullptr;
  driver_.check(driver_.cuModuleLoadData(&module, kAppendPtx), "cuModuleLoadData");
  driver_.check(driver_.cuModuleGetFunction(&append_one_, module, kAppendOne), "cuModuleGetFunction");
  driver_.check(driver_.cuModuleGetFunction(&append_many_, module, kAppendMany), "cuModuleGetFunction");
  driver_.check(driver_.cuModuleGetFunction(&append_graph_, module, kAppendGraph), "cuModuleGetFunction");
  driver_.check(driver_.cuStreamCreate(&private_stream_, kStreamNonBlocking), "cuStreamCreate");

  const std::size_t nodes = std::size_t{1} << sizes_.log2_nodes;
  slots_ = new (host_memory(sizeof(LandingSlot) * slot_count(), &device_slots_)) LandingSlot[slot_count()];
  graph_slots_ = new (host_memory(sizeof(GraphSlot) * graph_slot_count(), &device_graph_slots_))
      GraphSlot[graph_slot_count()];
  shown_ = new (host_memory(sizeof(TotalsSlot) * nodes, &device_shown_)) TotalsSlot[nodes];
  const std::size_t bytes = sizeof(std::uint64_t) + sizeof(NodeTotals) * nodes;
  driver_.check(driver_.cuMemAlloc_v2(&counter_, bytes), "cuMemAlloc");
  driver_.check(driver_.cuMemsetD8Async(counter_, 0, bytes, private_stream_), "cuMemsetD8Async");
}

// The first launch of each kernel, which may load it, and values that must arrive: where host memory is not
// really mapped, as under confidential computing, they do not.
void Device::prove() {
  const Receiver nobody{nullptr, nullptr, 0};
  const DeviceScalar clocks[2] = {{0, ElementType::kUInt64}, {0, ElementType::kUInt64}};
  for (const std::size_t n : {std::size_t{1}, std::min(std::size_t{2}, std::size_t{slot_count()})}) {
    std::uint64_t first = 0;
    released_ = tail_;
    launch(clocks, n, private_stream_, &first);
    for (std::size_t i = 0; i < n; ++i) commit(first + i, nobody);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (drain(), drained() != enqueued()) {
      std::this_thread::sleep_for(std::chrono::microseconds(20));
      check();
      if (std::chrono::steady_clock::now() > deadline)
        throw DriverError(kSuccess, "a value must land within 5 s of its launch, none did");
    }
  }
}

bool Device::is_capturing(DriverStream stream) const {
  int status = kNotCapturing;
  DriverResult result = kSuccess;
  // 0, 1 and 2 name the default streams of the current context.
  if (reinterpret_cast<std::uintptr_t>(stream) > 2) {
    result = driver_.cuStreamIsCapturing(stream, &status);
  } else {
    const ContextGuard guard(driver_, context_);
    result = driver_.cuStreamIsCapturing(stream, &status);
  }
  if (result == kCaptureImplicit) {
    throw DriverError(result,
                      "the default stream cannot be used while another stream captures a graph "
                      "(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT)");
  }
  driver_.check(result, "cuStreamIsCapturing");
  if (status == kCaptureStatusInvalidated) {
    throw DriverError(kCaptureInvalidated, "the capture of the stream has been invalidated");
  }
  return status != kNotCapturing;
}

AppendEntry Device::entry(std::uint64_t number, const DeviceScalar& scalar) const {
  const DevicePointer slot = device_slots_ + (number & (slot_count() - 1)) * sizeof(LandingSlot);
  return {scalar.source, slot, scalar.source == 0 ? 0 : element_size(scalar.type),
          landing_tag(number, sizes_.log2_slots)};
}

void Device::launch(DriverFunction function, void* parameters, std::size_t n, DriverStream stream) const {
  void* all[] = {parameters};
  driver_.check(
      driver_.cuLaunchKernel(function, 1, 1, 1, static_cast<unsigned>(n), 1, 1, 0, stream, all, nullptr),
      "cuLaunchKernel");
}

bool Device::launch(const DeviceScalar* scalars, std::size_t n, DriverStream stream, std::uint64_t* first) {
  const std::lock_guard<std::mutex> lock(mutex_);
  driver_.check(failure_, "the device has failed");
  const std::uint64_t head = head_;
  if (head - released_ + n > slot_count()) return false;
  AppendEntry entries[kMostEntries];  // the driver copies as many as the kernel declares
  for (std::size_t i = 0; i < n; ++i) entries[i] = entry(head + i, scalars[i]);
  if (n > 1) std::fill(entries + n, entries + kMostEntries, AppendEntry{});
  {
    const ContextGuard guard(driver_, context_);
    // Throws before anything has changed: the slots are given to the next call.
    launch(n == 1 ? append_one_ : append_many_, entries, n, stream);
  }
  for (std::size_t i = 0; i < n; ++i) {
    InFlight& entry = in_flight(head + i);
    entry.type = scalars[i].type;
    entry.is_mark = scalars[i].source == counter_;
    marks_ += entry.is_mark ? 1 : 0;
    entry.is_committed.store(false, std::memory_order_relaxed);
  }
  *first = head;
  head_.store(head + n, std::memory_order_release);
  return true;
}

void Device::commit(std::uint64_t number, const Receiver& receiver) {
  InFlight& entry = in_flight(number);  // drain() stops before it until now
  entry.receiver = receiver;
  entry.is_committed.store(true, std::memory_order_release);
}

std::uint32_t Device::add_node(ElementType type, const Receiver& receiver) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (nodes_.size() >> sizes_.log2_nodes != 0) {
    throw DriverError(kSuccess, "at most " + std::to_string(nodes_.size()) +
                                    " scalars of a device can be captured in CUDA graphs");
  }
  nodes_.push_back({receiver, type});
  return static_cast<std::uint32_t>(nodes_.size() - 1);
}

void Device::capture(const DeviceScalar* scalars, const std::uint32_t* nodes, std::size_t n,
                     DriverStream stream) {
  GraphEntry entries[kMostEntries] = {};  // the driver copies all of them
  for (std::size_t i = 0; i < n; ++i) {
    entries[i] = {scalars[i].source,
                  device_graph_slots_,
                  counter_,
                  counter_ + sizeof(std::uint64_t) + sizeof(NodeTotals) * nodes[i],
                  device_shown_ + sizeof(TotalsSlot) * nodes[i],
                  element_size(scalars[i].type),
                  static_cast<std::uint32_t>(scalars[i].type),
                  nodes[i],
                  sizes_.log2_graph_slots};
  }
  driver_.check(failure_, "the device has failed");
  const ContextGuard guard(driver_, context_);
  launch(append_graph_, entries, n, stream);
}

bool Device::drain(bool may_wait) {
  std::unique_lock<std::mutex> lock(mutex_, std::defer_lock);
  if (may_wait) {
    lock.lock();
  } else if (!lock.try_lock()) {
    return false;
  }
  const bool any_launched = drain_launched();
  const bool any_replayed = !nodes_.empty() && marks_ == 0 && drain_replayed(UINT64_MAX);
  return any_launched || any_replayed;
}

bool Device::drain_launched() {
  const std::uint64_t begin = tail_;
  const std::uint64_t head = head_;
  std::uint64_t tail = begin;
  std::uint64_t bits = 0;
  for (; tail != head && slot(tail).read(landing_tag(tail, sizes_.log2_slots), &bits); ++tail) {
    const InFlight& entry = in_flight(tail);
    if (!entry.is_committed.load(std::memory_order_acquire)) break;
    if (entry.is_mark) {
      drain_replayed(bits);
      if (graph_tail_ < bits) break;  // one of another stream is about to land
      --marks_;
    }
    const Receiver& to = entry.receiver;
    if (to.land != nullptr) to.land(to.owner, to.position, decode_element(entry.type, &bits));
  }
  tail_.store(tail, std::memory_order_release);
  return tail != begin;
}

// A slot that shows a later lap than expected has been written again: the newest entry that may be in it is
// then known, and with it the oldest that may still be in the ring.
bool Device::drain_replayed(std::uint64_t end) {
  const unsigned log2 = sizes_.log2_graph_slots;
  bool any = false;
  while (graph_tail_ < end) {
    const GraphSlot& slot = graph_slots_[graph_tail_ & (graph_slot_count() - 1)];
    const std::uint32_t tag = landing_tag(graph_tail_, log2);
    std::array<std::uint32_t, 4> payload;
    if (slot.read(tag, &payload)) {
      Node& node = nodes_[payload[2]];
      node.lost += payload[3] - node.taken - 1;  // modulo 2^32
      node.taken = payload[3];
      const std::uint64_t bits = joined(payload[0], payload[1]);
      node.receiver.land(node.receiver.owner, node.receiver.position, decode_element(node.type, &bits));
      ++graph_tail_;
      any = true;
      continue;
    }
    const std::uint64_t laps_ahead = slot.ahead_of(tag);
    if (laps_ahead == 0) return any;
    graph_tail_ += (laps_ahead << log2) - graph_slot_count() + 1;
  }
  return any;
}

bool Device::release(void (*free)(void* owner)) {
  void* batch[64];
  std::size_t n = 0;
  {
    const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock()) return false;
    while (n < std::size(batch) && released_ != tail_) {
      void* owner = in_flight(released_++).receiver.owner;
      if (owner != nullptr) batch[n++] = owner;
    }
  }
  for (std::size_t i = 0; i < n; ++i) free(batch[i]);  // may run any code
  return n != 0;
}

bool Device::has_room(std::size_t n) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return head_ - tail_ + n <= slot_count();
}

ReplayTotals Device::totals(std::uint32_t node) const {
  ElementType type;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    type = nodes_[node].type;
  }
  ReplayTotals totals;
  std::array<std::uint32_t, 12> part;
  const TotalsSlot& shown = shown_[node];
  std::uint32_t tag = 0;
  for (unsigned tries = 0; tag = shown.tag(), !shown.read(tag, &part); ++tries) {  // written meanwhile
    if (tries > 100'000) throw DriverError(kSuccess, "the device has failed while it wrote totals");
    std::this_thread::yield();
  }
  totals.count = joined(tag, part[10]);
  if (totals.count == 0) return totals;
  totals.sum = as_double(part[0], part[1]);
  totals.minimum = as_double(part[2], part[3]);
  totals.maximum = as_double(part[4], part[5]);
  const std::uint64_t last = joined(part[6], part[7]);
  totals.last = decode_element(type, &last);
  totals.nans = joined(part[8], part[9]);
  return totals;
}

std::uint64_t Device::lost(std::uint32_t node) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return nodes_[node].lost;
}

// Errors of kernels come back from any later call. The stream is our own: a user's may be gone, or capturing.
void Device::check() {
  driver_.check(failure_, "the device has failed");
  const RelaxedCaptureGuard relaxed(driver_);
  DriverResult result = kSuccess;
  {
    const ContextGuard guard(driver_, context_);
    result = driver_.cuStreamQuery(private_stream_);
  }
  if (result == kSuccess || result == kNotReady) return;
  failure_ = result;
  driver_.check(result, "the device has failed");
}

}  // namespace ringmeter
