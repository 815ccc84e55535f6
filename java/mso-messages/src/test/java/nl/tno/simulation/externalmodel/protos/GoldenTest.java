package nl.tno.simulation.externalmodel.protos;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;

import com.google.protobuf.DiscardUnknownFieldsParser;
import com.google.protobuf.Message;
import com.google.protobuf.TextFormat;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Java writes and reads the bytes that Python writes and reads: those of the file that {@code mso.golden} names. */
class GoldenTest {
    private static final Pattern HEADING = Pattern.compile("\\[(\\w+)] version [12]: (.+)");

    /** One message: what it says, as text and as bytes. */
    private static final class Entry {
        private final String message;
        private final String tells;
        private final StringBuilder fields = new StringBuilder();
        private final StringBuilder digits = new StringBuilder();
        private boolean grown;

        private Entry(String message, String tells) {
            this.message = message;
            this.tells = tells;
        }

        private byte[] wire() {
            byte[] bytes = new byte[digits.length() / 2];
            for (int i = 0; i < bytes.length; i++) {
                bytes[i] = (byte) Integer.parseInt(digits.substring(2 * i, 2 * i + 2), 16);
            }
            return bytes;
        }

        /** The generated class of the message, as its empty instance. */
        private Message prototype() throws ReflectiveOperationException {
            Class<?> type = Class.forName("nl.tno.simulation.externalmodel.protos." + message);
            return (Message) type.getMethod("getDefaultInstance").invoke(null);
        }

        @Override
        public String toString() {
            return message + ": " + tells;
        }
    }

    static List<Entry> entries() throws IOException {
        List<Entry> entries = new ArrayList<>();
        for (String line : Files.readAllLines(Paths.get(System.getProperty("mso.golden")))) {
            Matcher heading = HEADING.matcher(line);
            if (heading.matches()) {
                entries.add(new Entry(heading.group(1), heading.group(2)));
            } else if (line.startsWith("=") || line.startsWith("+")) {
                Entry entry = entries.get(entries.size() - 1);
                entry.digits.append(line.substring(1).replace(" ", ""));
                entry.grown |= line.startsWith("+");
            } else if (!line.isEmpty() && !line.startsWith("#")) {
                entries.get(entries.size() - 1).fields.append(line).append('\n');
            }
        }
        return entries;
    }

    @ParameterizedTest
    @MethodSource("entries")
    void theFieldsMakeTheBytesAndTheBytesTheFields(Entry entry) throws Exception {
        Message prototype = entry.prototype();
        Message.Builder builder = prototype.newBuilderForType();
        TextFormat.merge(entry.fields, builder);
        Message told = builder.build();
        Message heard = prototype.getParserForType().parseFrom(entry.wire());

        String which = entry.toString();
        assertArrayEquals(entry.wire(), heard.toByteArray(), which);
        if (entry.grown) {
            assertNotEquals(told, heard, which);
            heard = DiscardUnknownFieldsParser.wrap(prototype.getParserForType()).parseFrom(entry.wire());
        }
        assertEquals(told, heard, which);
        assertArrayEquals(heard.toByteArray(), told.toByteArray(), which); // minus zero may be equal to zero
    }
}
