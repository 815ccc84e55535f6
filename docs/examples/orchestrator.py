"""A simulation orchestrator: asks for two models, plays one step with each, and hears how each of them ended."""

import os

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from mso.protocol.messages import lifecycle_pb2 as lifecycle

ME, SIMULATION, MODELS = "example-so", "sim-1", ("battery", "heat-pump")
BROKER = {name: os.environ[name] for name in ("MQTT_HOST", "MQTT_PORT", "MQTT_USERNAME", "MQTT_PASSWORD")}
order = lifecycle.DeployModels(simulatorId="example-so-0", protocolVersion=2, requestId=os.urandom(8).hex())
for model in MODELS:
    configuration = order.modelConfigurations.add(modelID=model, imageUrl="example-model:1")
    for name, value in {**BROKER, "SIMULATION_ID": SIMULATION, "MODEL_ID": model}.items():
        configuration.environmentVariables.add(name=name, value=value)


def on_message(client: Client, _: object, message: MQTTMessage) -> None:
    client.ack(message.mid, message.qos)  # not after this: behind our DISCONNECT it would not count
    *_, about, name = message.topic.split("/")
    print(about, name, flush=True)
    if name == "ModelsReady":
        step = lifecycle.NewStep(parameters_dict="{}").SerializeToString()
        for model in MODELS:
            client.publish(f"/lifecycle/{ME}/model/{SIMULATION}/{model}/NewStep", step, qos=1)
    elif name == "CalculationsDone":
        client.publish(f"/lifecycle/{ME}/model/{SIMULATION}/{about}/SimulationDone", qos=1)
    elif name == "ModelHasTerminated":
        print(lifecycle.ModelHasTerminated.FromString(bytes(message.payload)), flush=True)
    elif name == "DeployModelsRejected":
        print(lifecycle.DeployModelsRejected.FromString(bytes(message.payload)), flush=True)
    if name in ("AllModelsHaveTerminated", "DeployModelsRejected"):
        client.disconnect()  # loop_forever returns


client = Client(CallbackAPIVersion.VERSION2, client_id=ME, clean_session=False, manual_ack=True)
client.username_pw_set(BROKER["MQTT_USERNAME"], BROKER["MQTT_PASSWORD"])
client.on_connect = lambda client, *_: client.subscribe(
    [(f"/lifecycle/mso/{ME}/{SIMULATION}/#", 1), (f"/lifecycle/model/{ME}/{SIMULATION}/+/CalculationsDone", 1)]
)
client.on_subscribe = lambda client, *_: client.publish(
    f"/lifecycle/{ME}/mso/{SIMULATION}/DeployModels", order.SerializeToString(), qos=1
)
client.on_message = on_message
client.connect(BROKER["MQTT_HOST"], int(BROKER["MQTT_PORT"]))
client.loop_forever()
