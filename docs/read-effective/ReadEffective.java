import java.nio.charset.StandardCharsets;
import java.util.BitSet;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Prints the first outcome of every event of one topic: the reference of docs/read-effective.md, in Java.
 *
 * <p>Usage: {@code java -cp 'kafka-clients.jar:slf4j-api.jar:.' ReadEffective HOST:PORT TOPIC}. Reads from the
 * start to the end as it is now; a line is {@code PARTITION OFFSET ORIGIN VALUE}, the value in hexadecimal.
 */
public final class ReadEffective {
    /** Remembers which events of one partition had an outcome, in a window that moves with the newest. */
    static final class Window {
        static final int SIZE = 65_536;

        private final BitSet seen = new BitSet(SIZE);
        private long newest = -1;

        /** Says whether this is the first outcome of the event with that origin, and remembers it. */
        boolean first(long origin) {
            if (origin > newest) {
                long skipped = Math.min(origin - newest - 1, SIZE);
                for (long between = origin - skipped; between < origin; between++) {
                    seen.clear((int) (between % SIZE));
                }
                newest = origin;
            } else if (origin <= newest - SIZE || seen.get((int) (origin % SIZE))) {
                return false;
            }
            seen.set((int) (origin % SIZE));
            return true;
        }

        /** Says whether the event with that origin is known to have had an outcome. */
        boolean has(long origin) {
            return origin <= newest && origin > newest - SIZE && seen.get((int) (origin % SIZE));
        }
    }

    /** One partition's windows: one for each stage that writes there, which are several on the dead-letter topic. */
    static final class Windows {
        private final Map<String, Window> byStage = new HashMap<>();

        boolean first(String stage, long origin) {
            Window own = byStage.computeIfAbsent(stage, each -> new Window());
            return byStage.values().stream().noneMatch(each -> each != own && each.has(origin)) && own.first(origin);
        }
    }

    /** Returns the event's offset in the pipeline's first topic, or -1 where the record is nobody's outcome. */
    static long originOf(ConsumerRecord<byte[], byte[]> record) {
        Header header = record.headers().lastHeader("gv.origin");
        if (header == null || header.value() == null) {
            return -1;
        }
        String written = new String(header.value(), StandardCharsets.US_ASCII);
        return written.matches("[0-9]{1,18}") ? Long.parseLong(written) : -1;
    }

    /** Returns which stage gave an event up; empty where the record is no dead letter. */
    static String stageOf(ConsumerRecord<byte[], byte[]> record) {
        Header header = record.headers().lastHeader("__dlq.errors.stage");
        return header == null || header.value() == null ? "" : new String(header.value(), StandardCharsets.UTF_8);
    }

    public static void main(String[] arguments) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        // What a transaction aborted is no outcome. Where nothing is transactional, this changes nothing.
        settings.put("isolation.level", "read_committed");
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest");

        Map<TopicPartition, Windows> windows = new HashMap<>();
        StringBuilder out = new StringBuilder();
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions =
                    consumer.partitionsFor(arguments[1]).stream()
                            .map(each -> new TopicPartition(each.topic(), each.partition()))
                            .toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(each -> consumer.position(each) < ends.get(each))) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(java.time.Duration.ofMillis(100))) {
                    long origin = originOf(record);
                    TopicPartition where = new TopicPartition(record.topic(), record.partition());
                    if (origin < 0 || windows.computeIfAbsent(where, each -> new Windows()).first(stageOf(record), origin)) {
                        String value = record.value() == null ? "-" : HexFormat.of().formatHex(record.value());
                        out.append(record.partition()).append(' ').append(record.offset()).append(' ');
                        out.append(origin).append(' ').append(value).append('\n');
                    }
                }
            }
        }
        System.out.print(out);
    }
}
