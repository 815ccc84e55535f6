package nl.tno.simulation.example;

import com.google.protobuf.InvalidProtocolBufferException;
import java.util.Arrays;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import nl.tno.simulation.externalmodel.protos.DeployModels;
import nl.tno.simulation.externalmodel.protos.DeployModelsRejected;
import nl.tno.simulation.externalmodel.protos.EnvironmentVariable;
import nl.tno.simulation.externalmodel.protos.ModelConfiguration;
import nl.tno.simulation.externalmodel.protos.ModelHasTerminated;
import nl.tno.simulation.externalmodel.protos.NewStep;
import org.eclipse.paho.client.mqttv3.IMqttDeliveryToken;
import org.eclipse.paho.client.mqttv3.MqttCallbackExtended;
import org.eclipse.paho.client.mqttv3.MqttClient;
import org.eclipse.paho.client.mqttv3.MqttConnectOptions;
import org.eclipse.paho.client.mqttv3.MqttException;
import org.eclipse.paho.client.mqttv3.MqttMessage;
import org.eclipse.paho.client.mqttv3.persist.MemoryPersistence;

/**
 * A simulation orchestrator: asks for two models, plays one step with each, and hears how each of them ended.
 *
 * <p>Paho's thread only puts what comes into a queue; the main thread acts on it, and acknowledges it afterwards. So
 * nothing is lost that was heard but not yet acted on: it comes again with the next connection.
 */
public final class Orchestrator implements MqttCallbackExtended {
    private static final String ME = "example-so";
    private static final String SIMULATION = "sim-1";
    private static final List<String> MODELS = Arrays.asList("battery", "heat-pump");
    private static final int AT_LEAST_ONCE = 1;
    private static final boolean NEVER_RETAINED = false;

    /** What came in: a message, or a new connection, of which there is nothing to say. */
    private static final class News {
        private static final News CONNECTED = new News(null, null);
        private final String topic;
        private final MqttMessage message;

        private News(String topic, MqttMessage message) {
            this.topic = topic;
            this.message = message;
        }
    }

    private final BlockingQueue<News> news = new LinkedBlockingQueue<>();
    private final MqttClient client;
    private final DeployModels order = order();
    private boolean stepping;

    private Orchestrator() throws MqttException {
        // The client id names the session that the broker keeps; one program has it at a time.
        String broker = "tcp://" + variable("MQTT_HOST") + ":" + variable("MQTT_PORT");
        client = new MqttClient(broker, ME, new MemoryPersistence());
        client.setCallback(this);
        client.setManualAcks(true);
    }

    public static void main(String[] arguments) {
        int status = 1;
        try {
            status = new Orchestrator().run() ? 0 : 1;
        } catch (Exception e) {
            e.printStackTrace();
        }
        System.exit(status); // the threads of Paho would keep the program alive
    }

    /** Connects, and acts on what comes until the simulation is over; whether it took place. */
    private boolean run() throws Exception {
        MqttConnectOptions options = new MqttConnectOptions();
        options.setMqttVersion(MqttConnectOptions.MQTT_VERSION_3_1_1);
        options.setCleanSession(false); // what is told while this is away comes later
        options.setAutomaticReconnect(true);
        options.setUserName(variable("MQTT_USERNAME"));
        options.setPassword(variable("MQTT_PASSWORD").toCharArray());
        client.connect(options);
        String last;
        do {
            last = actOn(news.take());
        } while (!last.equals("AllModelsHaveTerminated") && !last.equals("DeployModelsRejected"));
        client.disconnect(); // after the acknowledgement: else the next run hears that this one ended
        client.close();
        return last.equals("AllModelsHaveTerminated");
    }

    /** The name of the message, or nothing. */
    private String actOn(News heard) throws MqttException, InvalidProtocolBufferException {
        try {
            if (heard == News.CONNECTED) {
                ask();
                return "";
            }
            String[] parts = heard.topic.split("/");
            String name = parts[parts.length - 1];
            actOn(name, parts[parts.length - 2], heard.message.getPayload());
            client.messageArrivedComplete(heard.message.getId(), heard.message.getQos());
            return name;
        } catch (MqttException e) {
            if (e.getReasonCode() == MqttException.REASON_CODE_SUBSCRIBE_FAILED) {
                throw e; // the broker does not let this program hear
            }
            System.err.println("tried again with the next connection: " + e.getMessage());
            return "";
        }
    }

    /** With every connection: the broker may have lost the session, and whether MSO was asked is not known. */
    private void ask() throws MqttException {
        client.subscribe("/lifecycle/mso/" + ME + "/" + SIMULATION + "/#", AT_LEAST_ONCE);
        client.subscribe("/lifecycle/model/" + ME + "/" + SIMULATION + "/+/CalculationsDone", AT_LEAST_ONCE);
        publish("/lifecycle/" + ME + "/mso/" + SIMULATION + "/DeployModels", order.toByteArray());
    }

    private void actOn(String name, String about, byte[] payload) throws MqttException, InvalidProtocolBufferException {
        System.out.println(about + " " + name);
        switch (name) {
            case "ModelsReady":
                if (!stepping) { // MSO tells it once; the broker may deliver it twice
                    for (String model : MODELS) {
                        byte[] step = NewStep.newBuilder().setParametersDict("{}").build().toByteArray();
                        publish("/lifecycle/" + ME + "/model/" + SIMULATION + "/" + model + "/NewStep", step);
                    }
                    stepping = true;
                }
                break;
            case "CalculationsDone":
                publish("/lifecycle/" + ME + "/model/" + SIMULATION + "/" + about + "/SimulationDone", new byte[0]);
                break;
            case "ModelHasTerminated":
                System.out.print(ModelHasTerminated.parseFrom(payload));
                break;
            case "DeployModelsRejected":
                System.out.print(DeployModelsRejected.parseFrom(payload));
                break;
            default: // AllModelsHaveTerminated, and what a later version of the protocol adds
                break;
        }
    }

    /** Returns when the broker has it. */
    private void publish(String topic, byte[] payload) throws MqttException {
        client.publish(topic, payload, AT_LEAST_ONCE, NEVER_RETAINED);
    }

    private static DeployModels order() {
        DeployModels.Builder order = DeployModels.newBuilder()
                .setSimulatorId("example-so-0")
                .setProtocolVersion(2)
                .setRequestId(UUID.randomUUID().toString()); // the same with every asking: one run
        for (String model : MODELS) {
            ModelConfiguration.Builder configuration = order.addModelConfigurationsBuilder()
                    .setModelID(model)
                    .setImageUrl("example-model:1")
                    .addEnvironmentVariables(of("SIMULATION_ID", SIMULATION))
                    .addEnvironmentVariables(of("MODEL_ID", model));
            for (String name : Arrays.asList("MQTT_HOST", "MQTT_PORT", "MQTT_USERNAME", "MQTT_PASSWORD")) {
                configuration.addEnvironmentVariables(of(name, variable(name)));
            }
        }
        return order.build();
    }

    private static EnvironmentVariable of(String name, String value) {
        return EnvironmentVariable.newBuilder().setName(name).setValue(value).build();
    }

    private static String variable(String name) {
        String value = System.getenv(name);
        if (value == null) {
            throw new IllegalStateException("set the environment variable " + name);
        }
        return value;
    }

    @Override
    public void connectComplete(boolean reconnect, String address) {
        news.add(News.CONNECTED);
    }

    @Override
    public void messageArrived(String topic, MqttMessage message) {
        news.add(new News(topic, message));
    }

    @Override
    public void connectionLost(Throwable cause) {
        System.err.println("connection lost; Paho connects again");
    }

    @Override
    public void deliveryComplete(IMqttDeliveryToken token) {
        // publish() waits for it
    }
}
