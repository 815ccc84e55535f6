"""A model: says that it is ready, answers whatever it is asked, and ends with the simulation."""

import os

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

ANSWERS = {"ModelParameters": "Parameterized", "NewStep": "CalculationsDone"}
simulation, model = os.environ["SIMULATION_ID"], os.environ["MODEL_ID"]


def on_message(client: Client, _: object, message: MQTTMessage) -> None:
    _, _, simulator, *_, name = message.topic.split("/")
    if name in ANSWERS:
        client.publish(f"/lifecycle/model/{simulator}/{simulation}/{model}/{ANSWERS[name]}", qos=1)
    elif name == "SimulationDone":
        client.disconnect()  # loop_forever returns, the program ends, exit code 0: SUCCESSFULL


client = Client(CallbackAPIVersion.VERSION2)
client.username_pw_set(os.environ.get("MQTT_USERNAME"), os.environ.get("MQTT_PASSWORD"))
client.on_connect = lambda client, *_: client.subscribe(f"/lifecycle/+/model/{simulation}/{model}/+", qos=1)
client.on_subscribe = lambda client, *_: client.publish(
    f"/lifecycle/model/mso/{simulation}/{model}/ReadyForProcessing", qos=1
)
client.on_message = on_message
client.connect(os.environ["MQTT_HOST"], int(os.environ["MQTT_PORT"]))
client.loop_forever()
