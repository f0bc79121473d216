package shop.points;

import org.springframework.amqp.core.AcknowledgeMode;
import org.springframework.amqp.core.BindingBuilder;
import org.springframework.amqp.core.Declarables;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.core.TopicExchange;
import org.springframework.amqp.rabbit.connection.ConnectionFactory;
import org.springframework.amqp.rabbit.listener.SimpleMessageListenerContainer;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;

/** Gives a point for each whole unit of money that was paid. */
@SpringBootApplication
public class PointsApplication {
    private static final String QUEUE = "points.queue";

    public static void main(String[] arguments) {
        SpringApplication.run(PointsApplication.class, arguments);
    }

    @Bean
    EventKeys eventKeys(@Value("${listener.keys}") String ring) {
        return new EventKeys(ring);
    }

    /** A queue of our own. In a cluster let a policy make it a quorum queue: it keeps what a node had in it. */
    @Bean
    Declarables topology() {
        TopicExchange exchange = new TopicExchange("pay.events");
        Queue queue = QueueBuilder.durable(QUEUE).build();
        return new Declarables(exchange, queue, BindingBuilder.bind(queue).to(exchange).with(PointsListener.PAID));
    }

    /** No converter stands before the listener: a signature covers the bytes as they came. */
    @Bean
    SimpleMessageListenerContainer container(ConnectionFactory connections, PointsListener listener) {
        SimpleMessageListenerContainer container = new SimpleMessageListenerContainer(connections);
        container.setQueueNames(QUEUE);
        container.setAcknowledgeMode(AcknowledgeMode.MANUAL);
        container.setPrefetchCount(100);
        container.setMessageListener(listener);
        return container;
    }
}
