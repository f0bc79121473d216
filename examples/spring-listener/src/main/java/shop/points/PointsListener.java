package shop.points;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.rabbitmq.client.Channel;
import java.io.IOException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.rabbit.listener.api.ChannelAwareMessageListener;
import org.springframework.dao.DataAccessException;
import org.springframework.dao.DataIntegrityViolationException;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.stereotype.Component;
import org.springframework.transaction.TransactionException;
import org.springframework.transaction.support.TransactionTemplate;

/**
 * Verifies, then applies once, then acknowledges, in this order.
 *
 * <p>A message that it cannot believe or read goes into the table {@code aside}: it must neither come again for ever nor
 * be lost. While the database is away the message stays in hand, so that a broker that counts deliveries has nothing to
 * count; if the process ends meanwhile, it comes again.
 */
@Component
class PointsListener implements ChannelAwareMessageListener {
    static final String PAID = "pay.success";
    private static final long PAUSE_MS = 1000;
    private static final Logger LOG = LoggerFactory.getLogger(PointsListener.class);

    private final EventKeys keys;
    private final JdbcTemplate database;
    private final TransactionTemplate transaction;
    private final ObjectMapper json = new ObjectMapper();

    /** What this listener reads of an event; ids are strings, amounts whole minor units. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    record Event(String id, String type, PayOrder data) {}

    @JsonIgnoreProperties(ignoreUnknown = true)
    record PayOrder(String payerId, long amount) {}

    PointsListener(EventKeys keys, JdbcTemplate database, TransactionTemplate transaction) {
        this.keys = keys;
        this.database = database;
        this.transaction = transaction;
    }

    @Override
    public void onMessage(Message message, Channel channel) throws Exception {
        byte[] body = message.getBody();
        Object signature = message.getMessageProperties().getHeaders().get("paybell-signature");
        while (!stored(body, signature)) {
            Thread.sleep(PAUSE_MS);
        }
        channel.basicAck(message.getMessageProperties().getDeliveryTag(), false);
    }

    /** False: the database is away. */
    private boolean stored(byte[] body, Object signature) {
        try {
            String fault = keys.verifies(body, signature) ? apply(body) : "not_signed";
            if (fault != null) {
                database.update("INSERT INTO aside (body, reason) VALUES (?, ?)", body, fault);
            }
            return true;
        } catch (DataAccessException | TransactionException error) {
            LOG.warn("The database is away; the message stays in hand.", error);
            return false;
        }
    }

    /** Returns why not, or null. The routing key is not signed: what happened is the event's own type. */
    private String apply(byte[] body) {
        try {
            Event event = json.readValue(body, Event.class);
            if (!PAID.equals(event.type())) {
                return "not_a_payment";
            }
            transaction.executeWithoutResult(status -> addPoints(event));
            return null;
        } catch (IOException error) {
            return "unreadable";
        } catch (DataIntegrityViolationException error) {
            return "refused";
        }
    }

    /** The effect and the event's id are one transaction: an event that comes again changes nothing. */
    private void addPoints(Event event) {
        if (database.update("INSERT INTO inbox VALUES (?) ON CONFLICT DO NOTHING", event.id()) == 1) {
            database.update(
                    "INSERT INTO points VALUES (?, ?)"
                            + " ON CONFLICT (user_id) DO UPDATE SET points = points.points + excluded.points",
                    event.data().payerId(), event.data().amount() / 100);
        }
    }
}
