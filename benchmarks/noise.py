"""The traffic of a simulation that is none of MSO's business: as much of it as is asked for, at QoS 0."""

import sys
import time

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

A_SECOND = 5000
BURST = 50


def main() -> None:
    host, port, username, password, seconds = sys.argv[1:]
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set(username, password)
    client.connect(host, int(port))
    client.loop_start()
    began = time.monotonic()
    sent = 0
    while (passed := time.monotonic() - began) < float(seconds):
        while sent < passed * A_SECOND:
            for number in range(BURST):
                client.publish(f"/lifecycle/test-so/model/bench/m{number}/NewStep", b'{"time_step": 1}')
            sent += BURST
        time.sleep(0.001)  # the next burst is not due
    client.disconnect()
    client.loop_stop()
    print(sent)


if __name__ == "__main__":
    main()
