// Each case ends what the process has of devices, so each runs in a process of its own.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <vector>

#include "device/devices.h"
#include "fake_cuda.h"

using namespace ringmeter;
using namespace std::chrono_literals;
using namespace ringmeter::tests;

namespace {

struct Owner {
  std::vector<double> landed;
  int references = 0;
};

void land(void* owner, std::uint64_t, const Number& number) {
  static_cast<Owner*>(owner)->landed.push_back(number.high);
}

void let_go(void* owner) { --static_cast<Owner*>(owner)->references; }

void append(Device* device, const float& value, Owner* owner, DriverStream stream) {
  const DeviceScalar scalar{reinterpret_cast<std::uintptr_t>(&value), ElementType::kFloat32};
  std::uint64_t first = 0;
  REQUIRE(device->launch(&scalar, 1, stream, &first));
  ++owner->references;
  device->commit(first, {land, owner, 0});
}

std::chrono::steady_clock::time_point in(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}

}  // namespace

TEST_CASE("test_devices_are_found_once_and_waited_for_together") {
  fake_reset();
  Devices& devices = Devices::instance();
  CHECK_FALSE(devices.is_used());
  CHECK(devices.mark().empty());
  Device* second = devices.find(1);
  REQUIRE(second != nullptr);
  CHECK(devices.find(1) == second);
  CHECK(devices.find(0) != nullptr);
  CHECK(devices.find(0) != second);
  CHECK(devices.find(7) == nullptr);
  CHECK(devices.problem(7) == "cuDeviceGet: FAKE_CUDA_ERROR_101 (101)");
  CHECK(devices.find(-1) == nullptr);
  CHECK(devices.problem(-1) == "ordinals must be below 64");
  const long tried = fake_calls("cuDeviceGet");
  CHECK(devices.find(7) == nullptr);
  CHECK(fake_calls("cuDeviceGet") == tried);

  Owner owner;
  const float value = 2.5F;
  const DriverStream stream = fake_stream(1);
  fake_pause(stream, true);
  append(second, value, &owner, stream);
  const std::vector<std::uint64_t> mark = devices.mark();
  CHECK(devices.in_flight() == 1);
  CHECK_FALSE(devices.has_landed(mark));
  CHECK_FALSE(devices.wait(in(20ms), [&] { return devices.has_landed(mark); }));
  fake_pause(stream, false);
  CHECK(devices.wait(in(10s), [&] { return devices.has_landed(mark); }));
  CHECK(owner.landed == std::vector<double>{2.5});
  CHECK(owner.references == 1);
  devices.release(let_go);
  CHECK(owner.references == 0);

  fake_pause(stream, true);
  append(second, value, &owner, stream);
  fake_fail("cuStreamQuery", 1, 700);
  CHECK_THROWS_WITH_AS(devices.wait(in(10s), [] { return false; }),
                       "the device has failed: FAKE_CUDA_ERROR_700 (700)", DriverError);
  fake_pause(stream, false);
}

TEST_CASE("test_close_waits_for_what_is_on_its_way_and_then_touches_nothing") {
  fake_reset();
  Devices& devices = Devices::instance();
  Owner owner;
  const float value = 2.5F;
  const DriverStream stream = fake_stream(0);
  fake_delay(stream, 2000);
  Device* device = devices.find(0);
  REQUIRE(device != nullptr);
  append(device, value, &owner, stream);
  devices.close(in(10s));
  CHECK(owner.landed.size() == 1);
  CHECK(devices.find(0) == nullptr);
  CHECK(devices.problem(0) == "the interpreter is exiting");
  CHECK(devices.in_flight() == 0);
  CHECK_THROWS_WITH_AS(devices.wait(in(10s), [] { return false; }), "the interpreter is exiting",
                       DriverError);
}

TEST_CASE("test_close_does_not_wait_for_ever") {
  fake_reset();
  Devices& devices = Devices::instance();
  Owner owner;
  const float value = 2.5F;
  const DriverStream stream = fake_stream(0);
  fake_pause(stream, true);
  append(devices.find(0), value, &owner, stream);
  devices.close(in(30ms));
  fake_pause(stream, false);
  fake_sync(stream);
  devices.drain(true);
  CHECK(owner.landed.empty());
}

TEST_CASE("test_a_forked_child_uses_no_device_and_no_memory_of_one") {
  fake_reset();
  Devices& devices = Devices::instance();
  Owner owner;
  const float value = 2.5F;
  const DriverStream stream = fake_stream(0);
  fake_pause(stream, true);
  append(devices.find(0), value, &owner, stream);
  const pid_t child = fork();
  if (child == 0) {
    bool ok = devices.is_forked() && devices.find(0) == nullptr && devices.in_flight() == 0;
    ok = ok && devices.problem(0) == "CUDA was in use before the process was forked";
    devices.drain(true);
    devices.release(let_go);
    try {
      devices.wait(in(10s), [] { return false; });
      ok = false;
    } catch (const DriverError&) {
    }
    devices.close(in(10s));
    _exit(ok && owner.landed.empty() ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  fake_pause(stream, false);
  CHECK(devices.wait(in(10s), [&] { return devices.in_flight() == 0; }));
  CHECK(owner.landed.size() == 1);
}
