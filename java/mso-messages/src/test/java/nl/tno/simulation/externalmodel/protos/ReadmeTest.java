package nl.tno.simulation.externalmodel.protos;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import org.junit.jupiter.api.Test;

/** The lines of java/README.md, word for word. */
class ReadmeTest {
    @Test
    void aRequestIsWrittenAndAnEndIsRead() throws Exception {
        byte[] received = {0x08, 0x01, 0x10, (byte) 0x89, 0x01};

        // README: begin
        DeployModels request = DeployModels.newBuilder()
                .setSimulatorId("my-so-0")
                .setProtocolVersion(2)
                .addModelConfigurations(ModelConfiguration.newBuilder()
                        .setModelID("heat-pump")
                        .setImageUrl("registry.example/heat-pump:2.1")
                        .addEnvironmentVariables(
                                EnvironmentVariable.newBuilder().setName("MODEL_ID").setValue("heat-pump")))
                .build();
        byte[] payload = request.toByteArray(); // for /lifecycle/my-so/mso/sim-1/DeployModels

        // what came on /lifecycle/mso/my-so/sim-1/heat-pump/ModelHasTerminated
        ModelHasTerminated end = ModelHasTerminated.parseFrom(received);
        boolean well = end.getStatus() == TerminationStatus.SUCCESSFULL;
        // README: end

        assertEquals(request, DeployModels.parseFrom(payload));
        assertFalse(well);
        assertEquals(137, end.getExitCode());
    }
}
