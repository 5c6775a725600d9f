// A test double for libcuda.so.1: a thread for each stream, and C++ in place of the kernels. It is as strict
// as the driver where ringmeter could go wrong: parameters are copied at launch, a launch needs the stream's
// context, memory comes dirty, the threads of a launch run in any order, and what each writes to host memory
// lands in any order, word by word with pauses between.
//
// While a stream captures, calls that might wait for it fail with 900 and invalidate the capture:
// allocations, loading of modules and of functions, making and querying streams. A thread in mode global is
// refused when any thread captures in mode global; a thread in mode global or thread-local, when it captures
// itself in another mode than relaxed. Nobody may query the stream that captures; nor use the legacy default
// stream (906), which would wait for it, when it is a blocking one.
#include "fake_cuda.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "device/append_kernels.h"

struct ringmeter::tests::FakeGraph {
  std::mutex mutex;  // held while it runs
  std::vector<std::function<void()>> nodes;
};

namespace {

using ringmeter::AppendEntries;
using ringmeter::AppendEntry;
using ringmeter::DriverResult;
using ringmeter::GraphEntries;
using ringmeter::tests::FakeGraph;
using Work = std::function<void()>;

constexpr DriverResult kInvalidValue = 1;
constexpr DriverResult kNotInitialised = 3;
constexpr DriverResult kInvalidDevice = 101;
constexpr DriverResult kInvalidContext = 201;
constexpr DriverResult kInvalidPtx = 218;
constexpr DriverResult kUnsupportedPtx = 222;
constexpr DriverResult kInvalidHandle = 400;
constexpr DriverResult kIllegalState = 401;
constexpr DriverResult kNotFound = 500;
constexpr DriverResult kCaptureWrongThread = 908;
constexpr int kDevices = 2;

struct Context {
  int device;
};

class Stream {
 public:
  Stream(int device, bool is_blocking)
      : device_(device), is_blocking_(is_blocking), thread_([this] { run(); }) {}
  ~Stream() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      is_stopped_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  int device() const { return device_; }
  bool is_blocking() const { return is_blocking_; }
  void delay(int microseconds) { delay_ = microseconds; }

  void pause(bool paused) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      is_paused_ = paused;
    }
    changed_.notify_all();
  }

  void push(Work work) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      queue_.push_back(std::move(work));
    }
    changed_.notify_all();
  }

  bool is_idle() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return queue_.empty() && !is_busy_;
  }

  void sync() {
    while (!is_idle()) std::this_thread::sleep_for(std::chrono::microseconds(50));
  }

 private:
  void run() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return is_stopped_ || (!is_paused_ && !queue_.empty()); });
      if (is_stopped_) return;
      const Work work = std::move(queue_.front());
      queue_.pop_front();
      is_busy_ = true;
      lock.unlock();
      if (delay_ > 0) std::this_thread::sleep_for(std::chrono::microseconds(delay_));
      work();
      lock.lock();
      is_busy_ = false;
    }
  }

  const int device_;
  const bool is_blocking_;
  std::atomic<int> delay_{0};
  std::mutex mutex_;  // protects the four below
  std::deque<Work> queue_;
  bool is_paused_ = false;
  bool is_busy_ = false;
  bool is_stopped_ = false;
  std::condition_variable changed_;
  std::thread thread_;
};

struct Failure {
  long call;
  DriverResult result;
  bool for_ever;
};

struct Capture {
  int mode;
  std::thread::id thread;  // that began it
  bool is_invalidated = false;
  std::vector<Work> nodes;
};

struct Driver {
  std::mutex mutex;  // protects all below
  bool is_initialised = false;
  bool is_shut_down = false;
  int ptx_version = 900;
  std::map<std::string, long> calls;
  std::map<std::string, Failure> failures;
  std::vector<std::unique_ptr<Stream>> streams;
  std::unique_ptr<Stream> default_streams[kDevices];
  std::map<Stream*, Capture> captures;
  std::vector<std::unique_ptr<FakeGraph>> graphs;
  std::deque<std::string> texts;  // of modules and names of functions: what their handles point at
  std::vector<void*> memory;      // never freed, as by who takes it
};

Driver& driver() {
  static Driver* instance = new Driver;  // outlives everything, as the real one
  return *instance;
}

Context contexts[kDevices] = {{0}, {1}};
thread_local std::vector<Context*> context_stack;
thread_local int capture_mode = 0;

Context* current() { return context_stack.empty() ? nullptr : context_stack.back(); }

// For measuring what is not the fake's: no counters, no locks, no threads, kernels run in the call.
std::atomic<bool> is_immediate{false};

DriverResult enter(const char* function) {
  if (is_immediate.load(std::memory_order_relaxed)) return 0;
  Driver& fake = driver();
  const std::lock_guard<std::mutex> lock(fake.mutex);
  const long call = ++fake.calls[function];
  const auto failure = fake.failures.find(function);
  if (failure != fake.failures.end()) {
    const Failure& fail = failure->second;
    if (call == fail.call || (fail.for_ever && call > fail.call)) return fail.result;
  }
  if (fake.is_shut_down) return ringmeter::kDeinitialised;
  const bool needs_init =
      std::strcmp(function, "cuInit") != 0 && std::strcmp(function, "cuGetErrorName") != 0;
  return fake.is_initialised || !needs_init ? 0 : kNotInitialised;
}

Stream* default_stream(int device) {
  Driver& fake = driver();
  const std::lock_guard<std::mutex> lock(fake.mutex);
  std::unique_ptr<Stream>& own = fake.default_streams[device];
  if (own == nullptr) own = std::make_unique<Stream>(device, true);
  return own.get();
}

Stream* resolve(void* stream) {
  if (stream != nullptr) return static_cast<Stream*>(stream);
  return current() == nullptr ? nullptr : default_stream(current()->device);
}

// The result of a call that might wait for a stream that captures.
DriverResult refuse_while_capturing() {
  Driver& fake = driver();
  const std::lock_guard<std::mutex> lock(fake.mutex);
  DriverResult result = 0;
  if (capture_mode == ringmeter::kCaptureModeRelaxed) return result;
  for (auto& [stream, capture] : fake.captures) {
    const bool is_own = capture.thread == std::this_thread::get_id();
    const bool is_forbidden = is_own ? capture.mode != ringmeter::kCaptureModeRelaxed
                                     : capture.mode == ringmeter::kCaptureModeGlobal &&
                                           capture_mode == ringmeter::kCaptureModeGlobal;
    if (!is_forbidden) continue;
    capture.is_invalidated = true;
    result = ringmeter::kCaptureUnsupported;
  }
  return result;
}

// The result of a use of a device's default stream. Under the driver's mutex.
DriverResult refuse_default_stream(int device, bool invalidates) {
  DriverResult result = 0;
  for (auto& [stream, capture] : driver().captures) {
    if (stream->device() != device || !stream->is_blocking()) continue;
    capture.is_invalidated = capture.is_invalidated || invalidates;
    result = ringmeter::kCaptureImplicit;
  }
  return result;
}

DriverResult enqueue(void* stream, Work work) {
  Stream* queue = resolve(stream);
  if (queue == nullptr) return kInvalidContext;
  Driver& fake = driver();
  const std::lock_guard<std::mutex> lock(fake.mutex);
  if (stream == nullptr) {
    if (const DriverResult refused = refuse_default_stream(queue->device(), true)) return refused;
  }
  const auto capture = fake.captures.find(queue);
  if (capture == fake.captures.end()) {
    queue->push(std::move(work));
    return 0;
  }
  if (capture->second.is_invalidated) return ringmeter::kCaptureInvalidated;
  capture->second.nodes.push_back(std::move(work));
  return 0;
}

// The result of work given to a stream while another context than its own is current.
DriverResult refuse_other_context(void* stream) {
  const Stream* queue = resolve(stream);
  if (queue == nullptr || current() == nullptr) return kInvalidContext;
  return current()->device == queue->device() ? 0 : kInvalidHandle;
}

void* dirty_memory(std::size_t bytes) {
  void* memory = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  std::memset(memory, 0xAB, bytes);
  const std::lock_guard<std::mutex> lock(driver().mutex);
  driver().memory.push_back(memory);
  return memory;
}

template <class T>
T* address(std::uint64_t pointer) {
  if (pointer % alignof(T) != 0) {  // 716 on a GPU, and the end of the context
    std::fputs("fake_cuda: misaligned address\n", stderr);
    std::abort();
  }
  return reinterpret_cast<T*>(static_cast<std::uintptr_t>(pointer));
}

// The Machine of the kernels.
struct FakeGpu {
  template <class T>
  static T load(std::uint64_t from) {
    return *address<const T>(from);
  }

  template <class T>
  static void store(std::uint64_t to, const T& value) {
    *address<T>(to) = value;
  }

  struct alignas(16) Pair {
    std::atomic<std::uint64_t> word[2];
  };

  static void store_pair(std::uint64_t to, std::uint64_t first, std::uint64_t second) {
    Pair* pair = address<Pair>(to);
    in_flight.emplace_back(&pair->word[0], first);
    in_flight.emplace_back(&pair->word[1], second);
  }

  static std::uint64_t add(std::uint64_t to, std::uint64_t n) {
    return address<std::atomic<std::uint64_t>>(to)->fetch_add(n, std::memory_order_relaxed);
  }

  static std::uint64_t clock() {
    static std::atomic<std::uint64_t> now{1};
    return now.fetch_add(32);
  }

  // What a thread stored lands. Release, for ThreadSanitizer: see TaggedWords::read.
  static void land() {
    std::shuffle(in_flight.begin(), in_flight.end(), random);
    for (std::size_t i = 0; i < in_flight.size(); ++i) {
      if (i > 0) std::this_thread::yield();
      in_flight[i].first->store(in_flight[i].second, std::memory_order_release);
    }
    in_flight.clear();
  }

  static thread_local std::vector<std::pair<std::atomic<std::uint64_t>*, std::uint64_t>> in_flight;
  static thread_local std::minstd_rand random;
};

thread_local std::vector<std::pair<std::atomic<std::uint64_t>*, std::uint64_t>> FakeGpu::in_flight;
thread_local std::minstd_rand FakeGpu::random{static_cast<unsigned>(FakeGpu::clock())};

void run_at_once(const AppendEntry* entries, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const AppendEntry& entry = entries[i];
    std::uint64_t bits = FakeGpu::clock();
    if (entry.bytes != 0) std::memcpy(&bits, address<const char>(entry.source), entry.bytes);
    auto* slot = address<FakeGpu::Pair>(entry.slot);
    const std::uint64_t tag = static_cast<std::uint64_t>(entry.tag) << 32;
    slot->word[0].store((bits & 0xFFFFFFFF) | tag, std::memory_order_release);
    slot->word[1].store(bits >> 32 | tag, std::memory_order_release);
  }
}

template <class Parameter>
Parameter copy(const void* parameter) {  // all of it, as the driver
  Parameter all;
  std::memcpy(&all, parameter, sizeof all);
  return all;
}

template <class Run>
void run_threads(unsigned threads, Run&& run) {
  std::vector<unsigned> order(threads);
  std::iota(order.begin(), order.end(), 0U);
  std::shuffle(order.begin(), order.end(), FakeGpu::random);
  for (const unsigned thread : order) {
    run(thread);
    FakeGpu::land();
  }
}

// A launch, with its parameter as it is now.
Work launch(const std::string& kernel, unsigned threads, const void* parameter) {
  if (kernel == ringmeter::kAppendOne) {
    return [threads, entry = copy<AppendEntry>(parameter)] {
      run_threads(threads, [&entry](unsigned) { ringmeter::kernels::append<FakeGpu>(entry); });
    };
  }
  if (kernel == ringmeter::kAppendMany) {
    return [threads, all = copy<AppendEntries>(parameter)] {
      run_threads(threads, [&all](unsigned i) { ringmeter::kernels::append<FakeGpu>(all.entry[i]); });
    };
  }
  return [threads, all = copy<GraphEntries>(parameter)] {
    run_threads(threads, [&all](unsigned i) { ringmeter::kernels::append_graph<FakeGpu>(all.entry[i]); });
  };
}

}  // namespace

#define ENTER()                                      \
  if (const DriverResult failed = enter(__func__)) { \
    return failed;                                   \
  }

#define REFUSE_WHILE_CAPTURING()                               \
  if (const DriverResult refused = refuse_while_capturing()) { \
    return refused;                                            \
  }

extern "C" {

DriverResult cuInit(unsigned) {
  ENTER()
  const std::lock_guard<std::mutex> lock(driver().mutex);
  driver().is_initialised = true;
  return 0;
}

DriverResult cuDriverGetVersion(int* version) {
  ENTER()
  *version = 13000;
  return 0;
}

DriverResult cuDeviceGet(int* device, int ordinal) {
  ENTER()
  *device = ordinal;
  return ordinal >= 0 && ordinal < kDevices ? 0 : kInvalidDevice;
}

DriverResult cuDevicePrimaryCtxRetain(void** context, int device) {
  ENTER()
  *context = &contexts[device];
  return 0;
}

DriverResult cuCtxGetCurrent(void** context) {
  ENTER()
  *context = current();
  return 0;
}

DriverResult cuCtxPushCurrent_v2(void* context) {
  ENTER()
  context_stack.push_back(static_cast<Context*>(context));
  return 0;
}

DriverResult cuCtxPopCurrent_v2(void** context) {
  ENTER()
  if (context_stack.empty()) return kInvalidContext;
  *context = context_stack.back();
  context_stack.pop_back();
  return 0;
}

DriverResult cuMemHostAlloc(void** memory, std::size_t bytes, unsigned) {
  ENTER()
  REFUSE_WHILE_CAPTURING()
  if (current() == nullptr) return kInvalidContext;
  *memory = dirty_memory(bytes);
  return 0;
}

DriverResult cuMemHostGetDevicePointer_v2(std::uint64_t* pointer, void* memory, unsigned) {
  ENTER()
  *pointer = reinterpret_cast<std::uintptr_t>(memory);
  return 0;
}

DriverResult cuMemAlloc_v2(std::uint64_t* pointer, std::size_t bytes) {
  ENTER()
  REFUSE_WHILE_CAPTURING()
  if (current() == nullptr) return kInvalidContext;
  if (bytes == 0) return kInvalidValue;
  *pointer = reinterpret_cast<std::uintptr_t>(dirty_memory(bytes));
  return 0;
}

DriverResult cuMemsetD8Async(std::uint64_t pointer, unsigned char value, std::size_t bytes, void* stream) {
  ENTER()
  if (const DriverResult refused = refuse_other_context(stream)) return refused;
  return enqueue(stream, [=] { std::memset(address<unsigned char>(pointer), value, bytes); });
}

DriverResult cuModuleLoadData(void** module, const void* image) {
  ENTER()
  REFUSE_WHILE_CAPTURING()
  if (current() == nullptr) return kInvalidContext;
  const auto* text = static_cast<const char*>(image);
  const char* version = std::strstr(text, "\n.version ");
  int major = 0;
  int minor = 0;
  if (version == nullptr || std::sscanf(version, "\n.version %d.%d", &major, &minor) != 2) return kInvalidPtx;
  const std::lock_guard<std::mutex> lock(driver().mutex);
  if (major * 100 + minor > driver().ptx_version) return kUnsupportedPtx;
  *module = &driver().texts.emplace_back(text);
  return 0;
}

DriverResult cuModuleGetFunction(void** function, void* module, const char* name) {
  ENTER()
  REFUSE_WHILE_CAPTURING()  // it may load the kernel
  if (static_cast<std::string*>(module)->find(std::string(".entry ") + name + "(") == std::string::npos) {
    return kNotFound;
  }
  const std::lock_guard<std::mutex> lock(driver().mutex);
  *function = &driver().texts.emplace_back(name);
  return 0;
}

DriverResult cuLaunchKernel(void* function, unsigned, unsigned, unsigned, unsigned block_x, unsigned,
                            unsigned, unsigned, void* stream, void** parameters, void**) {
  if (is_immediate.load(std::memory_order_relaxed)) {
    run_at_once(static_cast<const AppendEntry*>(parameters[0]), block_x);
    return 0;
  }
  ENTER()
  if (const DriverResult refused = refuse_other_context(stream)) return refused;
  const std::string& kernel = *static_cast<std::string*>(function);
  const std::size_t most = kernel == ringmeter::kAppendOne ? 1 : ringmeter::kMostEntries;
  if (block_x == 0 || block_x > most) return kInvalidValue;
  return enqueue(stream, launch(kernel, block_x, parameters[0]));
}

DriverResult cuStreamCreate(void** stream, unsigned flags) {
  ENTER()
  REFUSE_WHILE_CAPTURING()
  if (current() == nullptr) return kInvalidContext;
  *stream = ringmeter::tests::fake_stream(current()->device, (flags & ringmeter::kStreamNonBlocking) == 0);
  return 0;
}

DriverResult cuStreamQuery(void* stream) {
  ENTER()
  REFUSE_WHILE_CAPTURING()
  Stream* queue = resolve(stream);
  if (queue == nullptr) return kInvalidContext;
  const std::lock_guard<std::mutex> lock(driver().mutex);
  if (stream == nullptr) {
    if (const DriverResult refused = refuse_default_stream(queue->device(), true)) return refused;
  }
  const auto capture = driver().captures.find(queue);
  if (capture == driver().captures.end()) return queue->is_idle() ? 0 : ringmeter::kNotReady;
  capture->second.is_invalidated = true;
  return ringmeter::kCaptureUnsupported;
}

DriverResult cuStreamIsCapturing(void* stream, int* status) {
  ENTER()
  *status = ringmeter::kNotCapturing;
  if (is_immediate.load(std::memory_order_relaxed)) return 0;
  Stream* queue = resolve(stream);
  if (queue == nullptr) return kInvalidContext;
  const std::lock_guard<std::mutex> lock(driver().mutex);
  if (stream == nullptr) {
    if (const DriverResult refused = refuse_default_stream(queue->device(), false)) return refused;
  }
  const auto capture = driver().captures.find(queue);
  *status = capture == driver().captures.end() ? ringmeter::kNotCapturing
            : capture->second.is_invalidated   ? ringmeter::kCaptureStatusInvalidated
                                               : ringmeter::kCapturing;
  return 0;
}

DriverResult cuThreadExchangeStreamCaptureMode(int* mode) {
  ENTER()
  if (*mode < ringmeter::kCaptureModeGlobal || *mode > ringmeter::kCaptureModeRelaxed) return kInvalidValue;
  std::swap(*mode, capture_mode);
  return 0;
}

DriverResult cuGetErrorName(DriverResult result, const char** name) {
  ENTER()
  thread_local char text[32];
  std::snprintf(text, sizeof text, "FAKE_CUDA_ERROR_%d", result);
  *name = text;
  return 0;
}

}  // extern "C"

namespace ringmeter::tests {

void fake_reset() {
  const std::lock_guard<std::mutex> lock(driver().mutex);
  driver().ptx_version = 900;
  driver().is_shut_down = false;
  driver().captures.clear();
  driver().calls.clear();
  driver().failures.clear();
}

void fake_set_ptx_version(int major, int minor) {
  const std::lock_guard<std::mutex> lock(driver().mutex);
  driver().ptx_version = major * 100 + minor;
}

void fake_shutdown(bool is_shut_down) {
  const std::lock_guard<std::mutex> lock(driver().mutex);
  driver().is_shut_down = is_shut_down;
}

DriverStream fake_stream(int device, bool is_blocking) {
  auto stream = std::make_unique<Stream>(device, is_blocking);
  const std::lock_guard<std::mutex> lock(driver().mutex);
  driver().streams.push_back(std::move(stream));
  return reinterpret_cast<DriverStream>(driver().streams.back().get());
}

DriverStream fake_default_stream(int device) {
  if (device < 0 || device >= kDevices) return nullptr;
  return reinterpret_cast<DriverStream>(default_stream(device));
}

void fake_delay(DriverStream stream, int microseconds) { resolve(stream)->delay(microseconds); }

void fake_pause(DriverStream stream, bool paused) { resolve(stream)->pause(paused); }

void fake_sync(DriverStream stream) { resolve(stream)->sync(); }

void fake_write(DriverStream stream, void* to, const void* from, std::size_t bytes) {
  const auto* begin = static_cast<const char*>(from);
  enqueue(stream, [to, copy = std::string(begin, bytes)] { std::memcpy(to, copy.data(), copy.size()); });
}

DriverResult fake_begin_capture(DriverStream stream, int mode) {
  if (stream == nullptr) return kCaptureUnsupported;
  const std::lock_guard<std::mutex> lock(driver().mutex);
  const Capture capture{mode, std::this_thread::get_id(), false, {}};
  return driver().captures.emplace(reinterpret_cast<Stream*>(stream), capture).second ? 0 : kIllegalState;
}

DriverResult fake_end_capture(DriverStream stream, FakeGraph** graph) {
  *graph = nullptr;
  const std::lock_guard<std::mutex> lock(driver().mutex);
  const auto found = driver().captures.find(reinterpret_cast<Stream*>(stream));
  if (found == driver().captures.end()) return kIllegalState;
  const Capture& capture = found->second;
  if (capture.mode != kCaptureModeRelaxed && capture.thread != std::this_thread::get_id()) {
    return kCaptureWrongThread;
  }
  const DriverResult result = capture.is_invalidated ? kCaptureInvalidated : 0;
  if (result == 0) {
    driver().graphs.push_back(std::make_unique<FakeGraph>());
    *graph = driver().graphs.back().get();
    (*graph)->nodes = capture.nodes;
  }
  driver().captures.erase(found);
  return result;
}

DriverResult fake_replay(FakeGraph* graph, DriverStream stream) {
  return enqueue(stream, [graph] {
    const std::lock_guard<std::mutex> lock(graph->mutex);
    for (const Work& node : graph->nodes) node();
  });
}

std::size_t fake_nodes(const FakeGraph* graph) { return graph->nodes.size(); }

void fake_fail(const char* function, long nth, DriverResult result, bool for_ever) {
  const std::lock_guard<std::mutex> lock(driver().mutex);
  driver().failures[function] = {driver().calls[function] + nth, result, for_ever};
}

long fake_calls(const char* function) {
  const std::lock_guard<std::mutex> lock(driver().mutex);
  return driver().calls[function];
}

void fake_immediate(bool immediate) { is_immediate = immediate; }

std::size_t fake_contexts() { return context_stack.size(); }

}  // namespace ringmeter::tests
